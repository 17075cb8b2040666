"""Page of a run, ``index.html`` in its folder: progress, curves and previews, read from the folder alone."""

from html import escape
from pathlib import Path

from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.viz.curves import chart, read_curves
from tunemv3d_train.runs import RunFolder

_STYLE = """
:root { color-scheme: light dark; background: light-dark(#fff, #16181b); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font: 500 2rem/1.2 Palatino, Georgia, serif; margin-bottom: 0; }
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.5rem; margin: 2rem 0; }
.chart { width: 100%; color: light-dark(#1d1c1a, #ebe8e2); }
img { max-width: 100%; border-radius: 6px; }
figure { margin: 0 0 2rem; }
a { color: light-dark(#0d6560, #74cbc0); }
figcaption, p { color: light-dark(#65615a, #a5a19a); }
"""


def write_page(folder: RunFolder, done: int) -> None:
    """Write the page; while the run goes on, it reloads itself.

    Args:
        folder: folder of the run.
        done: number of steps done.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    steps, name = folder.spec.train.steps, escape(folder.spec.name)
    curves = read_curves(folder.metrics) if folder.metrics.is_file() else {}
    charts = [
        chart(title, {folder.spec.name: curve}, ["light-dark(#0d6560, #74cbc0)"]) for title, curve in curves.items()
    ]
    reload = "" if done >= steps else '<meta http-equiv="refresh" content="60">'
    previews = sorted(folder.previews.glob("step-*.png"), key=_by_step, reverse=True)
    newest, *older = [_figure(path) for path in previews] or [""]
    reported = sorted(folder.pictures.glob("step-*.png"), key=_by_step)
    last = [path for path in reported if _step_and_name(path)[0] == _step_and_name(reported[-1])[0]]
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{reload}<link rel="icon" href="data:,"><title>{name}</title><style>{_STYLE}</style></head>
<body><h1>{name}</h1>
<p>Step {done:,} of {steps:,} · <a href="spec.json">spec</a> · <a href="metrics.jsonl">figures</a> ·
<a href="checkpoints/">checkpoints</a></p>
{_known_words(folder.known_words)}
{newest}
<section>{"".join(map(_reported, last))}</section>
<section>{"".join(charts)}</section>
{"".join(older)}
</body></html>
"""
    path = folder.path / "index.html"
    try:
        write_text(path, page, durable=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error


def _known_words(path: Path) -> str:
    """What the 2D model knows of the dataset, in the run's words."""
    if not path.is_file():
        return ""
    sentence = str(read_json(path).get("sentence", ""))
    return f"<p>{escape(sentence[:1].upper() + sentence[1:])}.</p>"


def _figure(preview: Path) -> str:
    step = int(preview.stem.removeprefix("step-"))
    caption = f"Preview after step {step:,}"
    picture = f'<img src="previews/{preview.name}" alt="{caption}" loading="lazy">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _reported(picture: Path) -> str:
    """What a component or a loss shows of a step, as a figure."""
    step, name = _step_and_name(picture)
    caption = escape(f"{name}, step {step:,}")
    shown = f'<img src="pictures/{picture.name}" alt="{caption}" loading="lazy">'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _step_and_name(picture: Path) -> tuple[int, str]:
    """Return the step in the name of a reported picture, and the name that it is reported under."""
    step, _, name = picture.stem.removeprefix("step-").partition("-")
    return int(step), name


def _by_step(picture: Path) -> tuple[int, str]:
    """Sort names of steps as numbers: of a million steps and more, too."""
    return int(picture.stem.split("-")[1]), picture.name
