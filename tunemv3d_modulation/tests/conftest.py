from pathlib import Path

import pytest
import tiny_pipelines
import torch
from toy_model import SPEC, load, moved_model

from tunemv3d_core.console import run
from tunemv3d_modulation.backbone import DiffusersBackbone
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.sample import sample

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call those of the largest kind of pipeline slow; smaller ones ask the same."""
    for item in items:
        if isinstance(item, pytest.Function) and "sdxl" in item.name.partition("[")[2]:
            item.add_marker(pytest.mark.slow)


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


@pytest.fixture
def command(folders, monkeypatch, capsys):
    """Runs ``sample`` on a toy checkpoint; gives exit code, standard output and standard error."""
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    pipe.data = {"licences": {"CC0-1.0": 3}}
    monkeypatch.setattr(TuneMV3DPipeline, "from_pretrained", lambda *_, **__: pipe)

    def go(*arguments):
        with pytest.raises(SystemExit) as end:
            run(sample, ["toy", *map(str, arguments)])
        return end.value.code or 0, *capsys.readouterr()

    return go
