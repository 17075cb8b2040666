"""What opens the files of a case: commands and readers as people use them, one function for each kind."""

import contextlib
import io
import os
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunemv3d_core.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FINDINGS, TuneMV3DError

LOADED, REFUSED = "loaded", "refused"

_tiny: dict[str, Any] = {}


def prepare() -> None:
    """Import what the cases need, so that it is paid once, and make the model whose weights are loaded."""
    import stand_ins

    import tunemv3d_train.multiview
    import tunemv3d_train.shards  # noqa: F401
    from tunemv3d_core.plugins.registry import registry

    for slot in ("backbone", "view_encoder", "field", "aggregator", "lifter", "injector", "dataset", "loss"):
        for name in registry().names(slot):
            registry().get(slot, name)
    for record in registry().records("spec"):
        registry().load(record)
    _tiny["model"] = stand_ins.tiny_model()
    from tunemv3d_modulation.schedule import make_scheduler

    for name in ("DDIMScheduler", "EulerDiscreteScheduler"):
        make_scheduler({"_class_name": name}, "")
    # Each kind once, with nothing there: what libraries load late must not look like the doing of a case.
    for kind in TARGETS:
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            TARGETS[kind](Path("nowhere"), [])


def _told(error: TuneMV3DError) -> str:
    """Check that an error is a message for people: bounded, and without what a terminal would obey."""
    from tunemv3d_core.foreign_text import harmless_message

    shown = harmless_message(str(error))
    assert shown.strip() and len(shown) < 25_000, f"a message of {len(shown)} letters"
    assert not re.search(r"Traceback|object at 0x", shown), f"no message for people: {shown[:200]}"
    return REFUSED


def _each(*readers: Callable[[], Any]) -> str:
    """Run readers one after the other; "refused" where one of them raised an error of ours."""
    outcome = LOADED
    for read in readers:
        try:
            read()
        except TuneMV3DError as error:
            outcome = _told(error)
    return outcome


def _command(app: Any, *arguments: str) -> str:
    """Run a command in this process as its console script does."""
    from tunemv3d_core.console import run

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            run(app, list(arguments))
    except SystemExit as ended:
        code = ended.code or 0
    assert code in (EXIT_DONE, EXIT_FINDINGS, EXIT_BAD_INPUT), f"exit code {code}"
    text = said.getvalue()
    assert "Traceback" not in text
    odd = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"}
    assert not odd, f"letters that terminals obey: {odd}"
    return LOADED if code == EXIT_DONE else REFUSED


def specs(folder: Path, words: list[str]) -> str:
    """``tunemv3d spec show`` of a file, with overrides."""
    from tunemv3d_core.cli.spec import app

    path = folder / "spec.json"
    return _command(
        app, "show", str(path) if path.exists() else "chairs-mini", *(w for word in words for w in ("--set", word))
    )


def checkpoints(folder: Path, words: list[str]) -> str:
    """``tunemv3d checkpoint verify``, then what loading and resuming read."""
    from tunemv3d_core.cli.checkpoint import app
    from tunemv3d_core.config.loading import load_spec
    from tunemv3d_core.io.checkpoint import check_checkpoint, load_state, load_weights
    from tunemv3d_core.io.provenance import check_components, check_frozen
    from tunemv3d_core.plugins.descriptor import TRAINING_SLOTS

    def compare() -> None:
        record = check_checkpoint(folder)
        check_components(record["components"], folder)
        check_frozen(record["frozen"], {})

    _command(app, "verify", str(folder))
    return _each(
        compare,
        lambda: load_spec(folder / "spec.json", unneeded=TRAINING_SLOTS, saved=True),
        lambda: load_weights(_tiny["model"], folder / "model.safetensors"),
        lambda: load_state(folder),
    )


def datasets(folder: Path, words: list[str]) -> str:
    """The dataset ``multiview``, and every view of it."""
    from tunemv3d_train.multiview import MultiviewImages

    def read() -> None:
        dataset = MultiviewImages(folder)
        for index in range(len(dataset)):
            dataset.views(index, list(range(min(dataset.record(index).views, 4))))

    return _each(read)


def captures(folder: Path, words: list[str]) -> str:
    """Other tools' layouts, as ``tunemv3d data convert`` reads them."""
    from tunemv3d_data.layouts.collection import open_dataset

    def read() -> None:
        found = open_dataset(folder, undistort=True)
        for id_ in found.ids:
            found.record(id_)
            found.picture(id_, 0)

    return _each(read)


def shards(folder: Path, words: list[str]) -> str:
    """The dataset ``shards``, and every view of its first objects."""
    from tunemv3d_core.io.opt_out import OptOut
    from tunemv3d_train.shard_files import Address
    from tunemv3d_train.shards import ShardedImages

    def read() -> None:
        dataset = ShardedImages(Address(str(folder)), folder / "cache", 10**9, 1, 1, OptOut())
        for index in range(min(len(dataset), 2)):
            dataset.views(index, list(range(min(dataset.record(index).views, 4))))

    return _each(read)


def pictures(folder: Path, words: list[str]) -> str:
    """A picture, decoded."""
    from tunemv3d_train.multiview import decode

    return _each(*(lambda path=path: decode(path, path) for path in sorted(folder.glob("*"))))


def meshes(folder: Path, words: list[str]) -> str:
    """A folder or an archive of meshes, as ``tunemv3d data render`` reads it."""
    from tunemv3d_data.meshes.mesh import load_mesh
    from tunemv3d_data.sources.reading import read_sources

    def read() -> None:
        for source in read_sources(folder)[:3]:
            load_mesh(source)

    return _each(read)


def manifests(folder: Path, words: list[str]) -> str:
    """Sampled objects, as ``tunemv3d report`` reads them, and as meshes are made of them."""
    from tunemv3d_core.io.samples import read_pictures, read_sample
    from tunemv3d_show.gather import gather
    from tunemv3d_show.media import media_of, thumbnail

    def report() -> None:
        for entry in gather([folder]).objects:
            assert entry.prompt is not None and entry.seed is not None and entry.figures is not None
            thumbnail(entry)
            list(media_of(entry))

    return _each(report, lambda: read_sample(folder), lambda: read_pictures(folder))


def schedulers(folder: Path, words: list[str]) -> str:
    """A base model's ``scheduler_config.json``."""
    from tunemv3d_core.io.json_files import read_json
    from tunemv3d_modulation.schedule import Schedule, make_scheduler

    def read() -> None:
        config = read_json(folder / "scheduler_config.json")
        Schedule(config)
        make_scheduler(config, "")

    return _each(read)


TARGETS: dict[str, Callable[[Path, list[str]], str]] = {
    "specs": specs,
    "set": specs,
    "checkpoints": checkpoints,
    "datasets": datasets,
    "captures": captures,
    "shards": shards,
    "pictures": pictures,
    "meshes": meshes,
    "archives": meshes,
    "manifests": manifests,
    "schedulers": schedulers,
}
"""Readers by kind; each returns ``LOADED`` or ``REFUSED`` and raises what should not be."""


def _hangs(folder: Path, words: list[str]) -> str:
    time.sleep(3_600)
    return LOADED


def _dies(folder: Path, words: list[str]) -> str:
    os._exit(3)


def _leaves(folder: Path, words: list[str]) -> str:
    (folder.parent / "left").write_bytes(b"")
    return LOADED


def _starts(folder: Path, words: list[str]) -> str:
    os.system("true")
    return LOADED


def _breaks(folder: Path, words: list[str]) -> str:
    raise ZeroDivisionError


def _fills(folder: Path, words: list[str]) -> str:
    bytearray(3 * 2**30)
    return LOADED


BROKEN = {
    "hangs": _hangs,
    "dies": _dies,
    "leaves": _leaves,
    "starts": _starts,
    "breaks": _breaks,
    "fills": _fills,
}
"""What the process that opens cases must find."""
