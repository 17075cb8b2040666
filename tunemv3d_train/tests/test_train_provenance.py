"""A checkpoint tells what it was trained on, object by object, or by a hash where there are too many."""

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_train import credits
from tunemv3d_train.dataset_checks import tell_of_opt_out

CREDITS = (("cup", "CC0-1.0", "Ann", "shelf: Cup"), ("car", "CC-BY-4.0", "Bob", "yard: Car"), ("cat", "", "", "street"))


class Records:
    """The part of a dataset that provenance reads; the fourth object is held out."""

    def splits(self) -> dict[str, list[int]]:
        return {"train": [0, 1, 2], "held_out": [3]}

    def record(self, index: int) -> PosedImages:
        id_, licence, creator, source = CREDITS[index]
        return PosedImages(id_, Cameras.orbit(1), (8, 8), ("a",), licence=licence, creator=creator, source=source)


def recorded() -> dict[str, Any]:
    spec = SimpleNamespace(data=SimpleNamespace(model_dump=lambda mode: {"type": "multiview"}))
    return credits.provenance(spec, Records())  # type: ignore[arg-type]


def test_every_object_stands_under_its_licence_with_creator_and_source() -> None:
    found = recorded()
    assert found["licences"] == {"CC0-1.0": 1, "CC-BY-4.0": 1, "": 1} and found["objects"] == 3
    assert found["sources"] == {
        **{"CC0-1.0": {"cup": "Ann / shelf: Cup"}, "CC-BY-4.0": {"car": "Bob / yard: Car"}, "": {"cat": "street"}}
    }


def test_it_says_how_many_objects_an_opt_out_list_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    class Fewer(Records):
        opted_out = 4
        views = __len__ = lambda self: 0  # an isinstance wants them there

    spec = SimpleNamespace(data=SimpleNamespace(model_dump=lambda mode: {"type": "multiview"}))
    assert credits.provenance(spec, Fewer())["opted_out"] == 4  # type: ignore[arg-type]
    assert "opted_out" not in recorded()
    tell_of_opt_out(Fewer())  # type: ignore[arg-type]
    assert "4 objects are left out" in capsys.readouterr().err


def test_of_many_objects_a_hash_remains_that_anybody_can_recompute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credits, "CREDITED", 2)
    found = recorded()
    lines = sorted("\t".join(credit) for credit in CREDITS)
    assert found["sources"] == {} and found["licences"]["CC-BY-4.0"] == 1
    assert found["sources_sha256"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()
