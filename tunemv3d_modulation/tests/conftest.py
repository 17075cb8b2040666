from pathlib import Path

import pytest
import tiny_pipelines
import torch
from tunemv3d_core.ports import BuildContext
from tunemv3d_modulation.backbone import DiffusersBackbone, build
from tunemv3d_modulation.spec import DiffusersSpec

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pipeline folder of every kind."""
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: tiny_pipelines.save(root / kind, kind) for kind in tiny_pipelines.UNETS}


def load(folder: Path, trainable: str = "none") -> DiffusersBackbone:
    spec = DiffusersSpec.model_validate({"type": "diffusers", "pretrained": str(folder), "trainable": trainable})
    return build(spec, None, BuildContext(torch.device("cpu")))


@pytest.fixture(scope="session", params=sorted(tiny_pipelines.UNETS))
def backbone(request: pytest.FixtureRequest, folders: dict[str, Path]) -> DiffusersBackbone:
    """A loaded backbone of every kind; tests leave it unchanged."""
    return load(folders[request.param])
