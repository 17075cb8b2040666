"""``train.compile`` on tiny components: the same run within rounding, and the plain one whenever that cannot be."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
import train_stand_ins as tiny
from safetensors.torch import load_file
from torch import Tensor, nn

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import Compiles
from tunemv3d_train import compilation
from tunemv3d_train.compilation import attach
from tunemv3d_train.trainer import Outcome, train

REGIONS, MAX = "train.compile=regions", "train.compile=max"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is compiled is forgotten; the user's cache is left alone."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    with torch._inductor.config.patch(cpp_cache_precompile_headers=False):  # for so little they only cost
        yield tmp_path / "compiled"
    torch.compiler.reset()


@pytest.fixture
def offering(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny lifter's block is a convolution, of which nothing is made anew; its whole is its forward."""
    monkeypatch.setattr(tiny.TinyLifter, "compiled_methods", ("forward",), raising=False)
    monkeypatch.setattr(tiny.TinyLifter, "repeated_blocks", lambda self: [self.layer], raising=False)


def weights(outcome: Outcome) -> dict[str, Tensor]:
    return load_file(outcome.checkpoint / "model.safetensors")


def same(one: Outcome, other: Outcome) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("option", [REGIONS, MAX])
def test_a_compiled_run_is_the_plain_one_within_rounding_and_goes_on(
    option: str, spec_file: Path, tmp_path: Path, offering: None, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train.accumulate=2", "train.precision=fp32"]
    plain = train(load_spec(spec_file, given), tmp_path / "plain")
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        whole = train(load_spec(spec_file, [*given, option]), tmp_path / "whole")
    told = capsys.readouterr().err
    assert f"compiling ({option})" in told and f"{own_cache} has it for the next time" in told
    assert "off, because" not in told and (option == REGIONS or any(own_cache.rglob("*.so")))
    assert whole.before == plain.before  # measured plainly
    first, second = weights(plain), weights(whole)
    assert first.keys() == second.keys() and (option == REGIONS or not same(plain, whole))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)
    # As if it had been killed in its last two steps.
    (tmp_path / "whole/checkpoints/step-000006").rename(tmp_path / "last")
    again = train(load_spec(spec_file, [*given, option]), tmp_path / "whole", resume=True)
    assert again.step == 6 and same(again, Outcome(**{**vars(whole), "checkpoint": tmp_path / "last"}))


def failing(spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Outcome, Outcome, list[str]]:
    """The plain run, the one that should have been compiled, and what it says of that."""
    plain = train(load_spec(spec_file), tmp_path / "plain")
    capsys.readouterr()
    compiled = train(load_spec(spec_file, [MAX]), tmp_path / "compiled-run")
    return plain, compiled, [line for line in capsys.readouterr().err.splitlines() if "off, because" in line]


@pytest.mark.slow
def test_without_a_compiler_the_run_is_the_plain_one(
    spec_file: Path, tmp_path: Path, offering: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        plain, compiled, told = failing(spec_file, tmp_path, capsys)
    assert same(plain, compiled) and len(told) == 1
    assert told[0].startswith("train.compile: off, because the compiler failed: ") and "C++ compiler" in told[0]


@pytest.mark.slow
@pytest.mark.parametrize(("slot", "what"), [("view_encoder", "loss"), ("injector", "gradient of the injector")])
def test_wrong_numbers_are_noticed_and_the_run_is_the_plain_one(
    slot: str,
    what: str,
    spec_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A compiler whose results are twice as large; the injector's are zero at first, their gradient is not."""

    def doubles(graph: torch.fx.GraphModule, _: Any) -> Any:
        return lambda *inputs: tuple(2 * each for each in graph(*inputs))

    def attach_wrong(model: nn.Module, whole: bool) -> bool:
        model.get_submodule(slot).compile(backend=doubles)
        return True

    monkeypatch.setattr(compilation, "attach", attach_wrong)
    plain, compiled, told = failing(spec_file, tmp_path, capsys)
    assert same(plain, compiled) and len(told) == 1 and f"it gives another {what}: " in told[0]


def test_where_nothing_is_offered_one_line_says_so(
    spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, compiled, told = failing(spec_file, tmp_path, capsys)
    assert same(plain, compiled) and told == [
        "train.compile: off, because no component of this model offers anything to compile"
    ]


class Offers(nn.Module):
    """Its blocks are linear layers; ``max`` compiles a method beside its forward."""

    compiled_methods: tuple[str, ...] = ("twice",)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))

    def repeated_blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def twice(self, x: Tensor) -> Tensor:
        return self.layers[1](self.layers[0](x))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_parts_are_compiled_in_their_place_and_copies_are_copies(whole: bool) -> None:
    model, x = nn.Sequential(Offers()), torch.randn(2, 3)
    assert isinstance(model[0], Compiles)
    names, before = list(model.state_dict()), model[0].twice(x)
    assert attach(model, whole) and list(model.state_dict()) == names
    other = deepcopy(model)
    with torch.no_grad():
        other[0].layers[1].bias.add_(1)
    with torch.compiler.set_stance("default", force_backend="eager"):
        assert torch.equal(model[0].twice(x), before)
        torch.testing.assert_close(other[0].twice(x), before + 1)


def test_the_users_cache_is_taken_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compilation._cache() == tmp_path / "compiled"
    monkeypatch.setattr(compilation, "CACHE", tmp_path / "user/tunemv3d")
    for given in ("", f"{tempfile.gettempdir()}/torchinductor_ada"):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", given)
        assert compilation._cache() == tmp_path / "user/tunemv3d" == Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    (tmp_path / "file").touch()
    monkeypatch.setattr(compilation, "CACHE", tmp_path / "file/tunemv3d")
    assert compilation._cache() == Path(tempfile.gettempdir()) and not os.environ["TORCHINDUCTOR_CACHE_DIR"]


def test_methods_that_are_not_there_are_named() -> None:
    part = Offers()
    part.compiled_methods = ("thrice",)
    with pytest.raises(ComponentError, match="compiled_methods of 'field': it has no method 'thrice'"):
        attach(nn.ModuleDict({"field": part}), whole=True)
    assert attach(nn.ModuleDict({"field": part}), whole=False)
    assert not attach(nn.Linear(3, 3), whole=True)
