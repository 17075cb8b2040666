"""Choice of the device."""

import ast
from pathlib import Path

import pytest
import torch

from tunemv3d_core.devices import find_device, preferred_device
from tunemv3d_core.errors import TuneMV3DError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert preferred_device() == device


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(TuneMV3DError, match="device 'mps' cannot be used here"):
        if torch.backends.mps.is_available():
            pytest.skip("it is here")
        find_device("mps")


def test_doubles_are_made_on_the_cpu() -> None:
    """Apple's devices have no float64: a tensor of unknown place goes to the CPU before it becomes one."""
    packages = [*ROOT.glob("tunemv3d_*/src"), *(ROOT / "plugins").glob("*/src")]
    for file in (file for package in packages for file in package.rglob("*.py")):
        if "tunemv3d_data" in file.parts or "testing" in file.parts:  # these never leave the CPU
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "double":
                assert ".cpu()" in ast.unparse(node.func.value), f"{file}:{node.lineno}"
