"""diffusers' own pipeline tests, applied to ours; ``diffusers_mixins.py`` runs them from a checkout of diffusers.

The newer mixins meet the pipeline as it is. The older ones compare pictures by their four axes, so that there the one
view of every object takes the place of the object (``OneViewPipeline``); nothing else is adapted.
"""

import functools
import os
import unittest
from typing import Any

import torch
from diffusers import DDIMScheduler
from tests.pipelines import test_pipelines_common as older
from tests.pipelines import testing_utils as newer
from tests.pipelines.pipeline_params import (
    TEXT_TO_IMAGE_BATCH_PARAMS,
    TEXT_TO_IMAGE_CALLBACK_CFG_PARAMS,
    TEXT_TO_IMAGE_IMAGE_PARAMS,
    TEXT_TO_IMAGE_PARAMS,
)

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

SPEC = {
    "name": "tiny",
    "model": {
        "backbone": {"type": "diffusers", "pretrained": os.environ["TINY_BASE"]},
        "view_encoder": {"type": "resattn", "features": 8, "channels": [16, 32], "blocks": 1, "head_channels": 16},
        "field": {"type": "neus", "aggregator": {"type": "mean-variance"}, "hidden": 16, "samples": 4},
        "lifter": {"type": "copied-encoder"},
        "injector": {"type": "zero-conv"},
    },
    "data": {"type": "multiview", "path": "none"},
    "train": {"steps": 1},
}


class OneViewPipeline(TuneMV3DPipeline):
    """Pictures of objects with one view each, without the axis of views."""

    @functools.wraps(TuneMV3DPipeline.__call__)
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Sample, and take the first view of every object."""
        output = super().__call__(*args, **kwargs)
        images = output[0]
        folded = [views[0] for views in images] if isinstance(images, list) else images[:, 0]
        if isinstance(output, tuple):
            return (folded, *output[1:])
        output.images = output["images"] = folded
        return output


class Tiny:
    """What the mixins ask for."""

    pipeline_class: type[TuneMV3DPipeline] = TuneMV3DPipeline

    def get_dummy_components(self) -> dict[str, Any]:
        """Build a model with a field, whose injector has moved."""
        spec = RunSpec.model_validate(SPEC)
        torch.manual_seed(0)
        model = assemble(spec.model)
        with torch.no_grad():
            for parameter in model.injector.parameters():
                parameter.normal_(std=0.1)
        scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
        return {"model": model, "scheduler": scheduler, "spec": spec}

    def inputs(self, views: int, output_type: str) -> dict[str, Any]:
        """Return arguments of a call."""
        return {
            "prompt": "a red chair",
            "cameras": Cameras.orbit(views),
            "generator": torch.Generator().manual_seed(0),
            "num_inference_steps": 2,
            "guidance_scale": 5.0,
            "output_type": output_type,
        }


class TestNewer(
    Tiny,
    newer.BasePipelineTesterConfig,
    newer.PipelineTesterMixin,
    newer.PipelineOffloadTesterMixin,
    newer.GroupOffloadTesterMixin,
    newer.LayerwiseCastingTesterMixin,
):
    """The mixins of tests/pipelines/testing_utils."""

    pipeline_class = TuneMV3DPipeline
    required_input_params_in_call_signature = TEXT_TO_IMAGE_PARAMS
    batch_input_params = TEXT_TO_IMAGE_BATCH_PARAMS
    callback_cfg_params = TEXT_TO_IMAGE_CALLBACK_CFG_PARAMS
    output_shape = (2, 3, 32, 32)

    def get_dummy_inputs(self) -> dict[str, Any]:
        """Return arguments of a call."""
        return self.inputs(2, "pt")


class TestOlder(
    Tiny,
    older.SDFunctionTesterMixin,
    older.PipelineLatentTesterMixin,
    older.PipelineKarrasSchedulerTesterMixin,
    older.PipelineTesterMixin,
    unittest.TestCase,
):
    """The mixins of tests/pipelines/test_pipelines_common.py."""

    pipeline_class = OneViewPipeline
    params = TEXT_TO_IMAGE_PARAMS
    batch_params = TEXT_TO_IMAGE_BATCH_PARAMS
    image_params = TEXT_TO_IMAGE_IMAGE_PARAMS
    image_latents_params = TEXT_TO_IMAGE_IMAGE_PARAMS
    callback_cfg_params = TEXT_TO_IMAGE_CALLBACK_CFG_PARAMS
    test_layerwise_casting = True
    test_group_offloading = True

    def get_dummy_inputs(self, device: str, seed: int = 0) -> dict[str, Any]:
        """Return arguments of a call."""
        return self.inputs(1, "np")
