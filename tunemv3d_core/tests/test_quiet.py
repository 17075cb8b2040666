"""Logs and bars are off inside ``quiet``, and as they were after it, whatever happens inside."""

import logging
import sys
from types import ModuleType

import pytest

from tunemv3d_core.console import quiet


class Library(ModuleType):
    """The part of Hugging Face's libraries that switches bars."""

    def __init__(self, shown: bool) -> None:
        super().__init__("library")
        self.shown = shown

    def is_progress_bar_enabled(self) -> bool:
        return self.shown

    def disable_progress_bar(self) -> None:
        self.shown = False

    def enable_progress_bar(self) -> None:
        self.shown = True


def test_logs_and_bars_are_off_inside_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    one, off = Library(True), Library(False)
    for name, library in (("one", one), ("off", off)):
        for module in (name, f"{name}.utils"):
            monkeypatch.setitem(sys.modules, module, ModuleType(module))
        monkeypatch.setitem(sys.modules, f"{name}.utils.logging", library)
    with pytest.raises(KeyError), quiet("one", "off"):
        assert not one.shown and not off.shown
        logging.getLogger("one").error("unseen")
        raise KeyError
    assert one.shown and not off.shown
    logging.getLogger("one").error("seen")
    assert caplog.messages == ["seen"]
