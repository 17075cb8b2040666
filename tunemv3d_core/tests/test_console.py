"""What commands print: one line for every error of the machine, and nothing that a terminal obeys."""

import io
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tunemv3d_core import assemble, console
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.errors import ComponentError, TuneMV3DError


def vanish() -> None:
    Path("/nowhere/at/all").read_text()


def too_long() -> None:
    Path("x" * 5_000).exists()


def too_large() -> None:
    raise MemoryError


def foreign() -> None:
    raise TuneMV3DError("a\x1b[2Jb\nerror: \u202egnp" + "x" * 10**6)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (vanish, "error: /nowhere/at/all: No such file or directory\n"),
        (too_long, "File name too long\n"),
        (too_large, "error: the memory of this machine is not enough"),
        (foreign, "error: a\\x1b[2Jb\nerror: \\u202egnpxxx"),
    ],
)
def test_whatever_the_machine_lacks_is_one_message(
    command: Callable[[], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        console.run(command, [])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and told in said
    assert "Traceback" not in said and len(said) < 10_000 and "\x1b" not in said


def test_tables_and_results_show_no_letters_that_terminals_obey(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("licence")
    table.add_row("CC0\x1b]0;title\x07 \u202e椅子")
    console.console.print(table)
    console.console.print("a plugin\x9b1;31m: \x1b[31mred")
    console.print_json({"prompt": "a\x1b[2J\u202e\x9b 椅子\nb"})
    said = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said) and "椅子" in said
    assert json.loads(said[said.index("{\n") :]) == {"prompt": "a\x1b[2J\u202e\x9b 椅子\nb"}


def test_colours_of_our_own_stay() -> None:
    file = io.StringIO()
    own = console._HarmlessConsole(file=file, force_terminal=True, color_system="standard", markup=False)
    own.print("red \x1b[2J", style="red", highlight=False)
    assert file.getvalue() == "\x1b[31mred \\x1b[2J\x1b[0m\n"


@pytest.mark.parametrize("sizes", [(10**13,), (2**40, 2**40)])
def test_components_larger_than_the_memory_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    class Registry:
        def get(self, slot: str, name: str) -> "Registry":
            return self

        def load_build(self) -> Callable[..., object]:
            return lambda spec: torch.empty(*sizes)

    monkeypatch.setattr(assemble, "registry", Registry)
    with pytest.raises(ComponentError, match="field 'large': its sizes need more memory than there is"):
        assemble.build_component("field", ComponentSpec(type="large"))


def test_an_interrupt_inside_of_a_progress_bar_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The bar's thread draws, for which it needs what the interrupted code holds just then."""
    monkeypatch.setattr(console, "messages", Console(file=io.StringIO()))
    bar = Progress(console=console.messages, auto_refresh=False)
    bar.start()
    draws, ended = threading.Event(), threading.Event()

    def draw() -> None:
        with bar.live._lock:
            draws.set()
            bar.get_renderable()

    def interrupted() -> None:
        with bar._lock:
            threading.Thread(target=draw, daemon=True).start()
            draws.wait(5)
            with pytest.raises(KeyboardInterrupt):
                console._interrupt(signal.SIGINT, None)
        ended.set()

    threading.Thread(target=interrupted, daemon=True).start()
    assert ended.wait(5), "it waits for the bar's thread, which waits for it"
    bar.stop()
    assert capfd.readouterr().err == "interrupted\n"
