from pathlib import Path

import pytest
import tiny_pipelines
import torch
from toy_model import load

from tunemv3d_modulation.backbone import DiffusersBackbone

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pipeline folder of every kind."""
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: tiny_pipelines.save(root / kind, kind) for kind in tiny_pipelines.UNETS}


@pytest.fixture(scope="session", params=sorted(tiny_pipelines.UNETS))
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    """Each of them in turn; tests leave it unchanged."""
    return folders[request.param]


@pytest.fixture(scope="session")
def backbone(folder: Path) -> DiffusersBackbone:
    """Loaded; tests leave it unchanged."""
    return load(folder)
