import json
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from tunemv3d_core.assemble import build_component
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BackbonePorts, BuildContext, Neighbours, ViewEncoderPorts
from tunemv3d_neus.spec import NeuSSpec, ResAttnSpec

MERGE = {"type": "mean-variance"}
BACKBONE = BackbonePorts(4, 32, 4, 12, (), "epsilon", 1000)
CONTEXT = BuildContext(torch.device("cpu"))


def test_descriptors_are_found_and_light() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sys, tunemv3d_neus.plugin; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "False"


def test_components_are_built_from_specs_through_the_registry() -> None:
    spec = NeuSSpec.model_validate({"type": "neus", "aggregator": MERGE, "hidden": 16})
    assert NeuSSpec.model_validate(json.loads(spec.model_dump_json())) == spec
    field = build_component("field", spec, Neighbours(BACKBONE, ViewEncoderPorts(features=5)), CONTEXT)
    assert (field.ports.features, field.ports.gives, field.ports.values) == (5, "latents", 4)
    direct = NeuSSpec.model_validate({"type": "neus", "aggregator": MERGE, "gives": "features", "values": 24})
    assert build_component("field", direct, Neighbours(BACKBONE, ViewEncoderPorts(5)), CONTEXT).ports.values == 24
    encoder = build_component("view_encoder", ResAttnSpec(type="resattn", features=7), Neighbours(BACKBONE), CONTEXT)
    assert encoder.ports == ViewEncoderPorts(features=7)
    with pytest.raises(PortsError, match="no view_encoder"):
        build_component("field", spec, Neighbours(BACKBONE), CONTEXT)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gives": "features"}, "'values'"),
        ({"values": 3}, "'values'"),
        ({"blocks": 2}, "latent_blocks"),
        ({"samples": 1}, "samples"),
        ({"hiden": 3}, "hiden"),
    ],
)
def test_neus_refuses_what_makes_no_sense(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        NeuSSpec.model_validate({"type": "neus", "aggregator": MERGE, **options})


def test_resattn_refuses_channels_that_do_not_divide() -> None:
    with pytest.raises(ValidationError, match="level 1: 36 channels"):
        ResAttnSpec(type="resattn", channels=(32, 36))
