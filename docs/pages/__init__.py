"""Pages that are made from the installed packages when the documentation is built, so that they cannot drift from them.

Nothing that they write is committed.
"""

from pathlib import Path

from pages import commands, components, messages, models, reference, repository, slots, specs, studies
from pages.markdown import write_pages


def generate(folder: Path) -> None:
    """Write every generated page below ``folder``, and remove what an earlier build left and this one does not make."""
    makers = (slots, components, specs, commands, reference, messages, repository, models)
    write_pages(folder, {name: text for maker in makers for name, text in maker.pages().items()})
    for name, picture in models.pictures().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(picture)
    for name, charts in studies.curves().items():
        (folder / name).write_text(charts, encoding="utf-8")
