"""A published folder's components, as ``DiffusionPipeline.from_pretrained`` loads them by ``model_index.json``.

diffusers loads a component by the class that the index names, and takes it for loadable where it derives from one of
the bases that it knows, looked up by their names in the class's own module. It hands over the folder itself, because
none of these components has a folder of its own.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin, SchedulerMixin

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_core.plugins.descriptor import TRAINING_SLOTS

INDEX: dict[str, list[str]] = {"model": [__name__, "FolderModel"], "spec": [__name__, "FolderSpec"]}
"""Entries of ``model_index.json``; the scheduler's is diffusers' own."""

PIPELINE_FILE = '''"""The pipeline that ``DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)`` makes."""

from tunemv3d_modulation import folder_components  # noqa: F401  holds what model_index.json names
from tunemv3d_modulation.pipeline import TuneMV3DPipeline  # noqa: F401
'''


class FolderModel(ModelMixin):  # type: ignore[misc]
    """The model of a checkpoint's folder."""

    @classmethod
    def from_pretrained(cls, folder: str, torch_dtype: torch.dtype | None = None, **_: Any) -> MultiviewDiffusion:
        """Load it onto the CPU.

        Raises:
            CheckpointError: the folder is no whole checkpoint, as one that diffusers itself fetched from the hub.
        """
        if not (Path(folder) / "provenance.json").is_file():
            raise CheckpointError(
                f"{folder}: not a whole checkpoint; from the hub load it by TuneMV3DPipeline.from_pretrained(ID)"
            )
        return load_checkpoint(folder, dtype=torch_dtype or torch.float32)[1]


class FolderSpec(SchedulerMixin):  # type: ignore[misc]
    """The spec of a checkpoint's folder."""

    @classmethod
    def from_pretrained(cls, folder: str, **_: Any) -> RunSpec:
        """Read it."""
        return load_spec(Path(folder) / "spec.json", unneeded=TRAINING_SLOTS, saved=True)
