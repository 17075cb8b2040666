"""The command ``tunemv3d evaluate``: how consistent a checkpoint's views are, as figures and as pictures."""

import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tunemv3d_core.cli.model_options import (
    BaseOption,
    DeviceOption,
    DtypeOption,
    EmbeddingOption,
    LoraOption,
    OffloadOption,
    read_placement,
)
from tunemv3d_core.consistency import Consistency, check_consistency, format_consistency, parse_consistency
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, TuneMV3DError
from tunemv3d_core.io.prompts import read_prompts

if TYPE_CHECKING:
    from tunemv3d_core.slots import Dataset
    from tunemv3d_eval.samples.generate import Settings
    from tunemv3d_eval.scoring.chosen import Chosen

FORMAT = "tunemv3d-evaluation/1"
CHAIR_PROMPTS = Path(__file__).parent / "protocols" / "prompts" / "chairs-20.txt"


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Name of a packaged checkpoint, its folder, or a run's folder.")],
    prompts: Annotated[
        Path, typer.Option(help="Text file, one prompt a line; default: 20 chairs.", show_default=False)
    ] = CHAIR_PROMPTS,
    consistency: Annotated[
        str, typer.Option(help="Values of K, such as 0,1,1.5,2:1; default: 0, 1 and the checkpoint's.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Samples of each prompt, each from its own noise.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the checkpoint's.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; default: the checkpoint's.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Scheduler, such as ddim; default: the checkpoint's.")] = None,
    views: Annotated[int, typer.Option(min=2, help="Cameras, evenly around the object.")] = 8,
    elevation: Annotated[float, typer.Option(help="Degrees above the horizon.")] = 20.0,
    metric: Annotated[
        list[str] | None,
        typer.Option(help='A metric: its name, or {"type": name, ...} with options. Again for more; default: all.'),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Measure held-out objects of the checkpoint's dataset too, as the ceiling.")
    ] = False,
    data: Annotated[
        str, typer.Option(help='Another dataset for --real: a name or folder, or {"type": name, ...}.')
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder for evaluate.json and pictures/.")] = Path("evaluation"),
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print evaluate.json instead of a table.")] = False,
) -> None:
    """Sample prompts at several strengths K from equal noise and measure the views, by all metrics that are installed.

    A picture for each prompt shows every sample, none chosen: views, the field's renders of them, and its opacity.
    Exit code 1: a metric failed; the report says which and why, and has the figures of all others.
    """
    texts = _prompts(prompts)
    strengths = parse_strengths(consistency)
    if data and not real:
        raise TuneMV3DError(f"--data {data}: is read for --real alone; add --real")
    # Heavy: torch, and whatever the metrics' and the checkpoint's components need.
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.generation import LoadedCheckpoint
    from tunemv3d_core.io.posed_images import write_json
    from tunemv3d_core.sampling import latent_size
    from tunemv3d_eval.samples.generate import Settings
    from tunemv3d_eval.scoring.chosen import choose_metrics

    # "auto" is an old word for the default.
    place = read_placement("" if device == "auto" else device, dtype, offload)
    added = Additions.of(base, lora, embedding)
    chosen = choose_metrics(metric or [])
    _make_free(out)
    loaded = LoadedCheckpoint.load(checkpoint, place, added)
    spec, model = loaded.spec, loaded.model
    if metric:
        _refuse_unmet(chosen, model, real)
    defaults = spec.sample
    settings = Settings(
        consistency=(0.0,) if model.field is None else strengths or _swept(defaults.consistency),
        samples=seeds,
        options=defaults.merged(steps=steps, guidance=guidance, scheduler=scheduler),
        views=views,
        elevation=elevation,
    )
    # Refuses a size that the model does not have, before anything is measured.
    latent_size(model.backbone.ports, settings.options.size)
    began, pictures = time.perf_counter(), out / "pictures"
    dataset = _dataset(spec, data, views) if real else None
    measured = _measure(model, chosen, texts, dataset, settings, pictures)
    report = {
        **_header(checkpoint, spec, settings, model, chosen),
        **added.as_json(),
        "seconds": round(time.perf_counter() - began, 1),
        **measured,
    }
    write_json(out / "evaluate.json", report)
    _show(report, out, as_json)
    if report["failed"]:
        raise typer.Exit(EXIT_FINDINGS)


def _prompts(file: Path) -> list[str]:
    found = read_prompts(file)
    if not found:
        raise TuneMV3DError(f"--prompts {file}: holds no prompt; write one a line")
    return found


def _refuse_unmet(chosen: "Chosen", model: Any, real: bool) -> None:
    """Refuse a metric that was asked for by name and can measure nothing here."""
    from tunemv3d_eval.scoring.chosen import lacking

    for each in chosen.metrics:
        if reason := lacking(each.metric, model, records=real):
            raise TuneMV3DError(f"--metric {each.name}: {reason}")


def _dataset(spec: Any, other: str, views: int) -> "tuple[Dataset, list[int]]":
    """The dataset of real objects and the indices of those that are held out."""
    from tunemv3d_eval.scoring.real import held_out_objects, open_dataset

    dataset = open_dataset(spec, other)
    return dataset, held_out_objects(dataset, views)


def _measure(
    model: Any,
    chosen: "Chosen",
    texts: list[str],
    real: "tuple[Dataset, list[int]] | None",
    settings: "Settings",
    pictures: Path,
) -> dict[str, Any]:
    """Measure real views, where there are any, and samples, with a bar for each."""
    from tunemv3d_eval.samples.generate import evaluate_prompts
    from tunemv3d_eval.scoring.measure import Measurement
    from tunemv3d_eval.scoring.real import evaluate_real

    failed = dict(chosen.failed)
    report: dict[str, Any] = {"sampled": None, "real": None, "failed": failed}
    with _progress() as bar:
        if real is not None:
            dataset, objects = real
            task = bar.add_task("real views", total=len(objects))
            report["real"] = evaluate_real(
                model,
                dataset,
                objects,
                settings.views,
                Measurement(chosen, model, True, failed),
                pictures,
                lambda n: bar.update(task, completed=n),
            )
        samples = bar.add_task("samples", total=len(texts) * settings.samples * len(settings.consistency))
        measurement = Measurement(chosen, model, False, failed)
        report["sampled"] = evaluate_prompts(
            model, texts, settings, measurement, pictures, lambda n: bar.update(samples, completed=n)
        )
    return report


def parse_strengths(text: str) -> tuple[Consistency, ...]:
    """Values or schedules of K between commas or blanks, each once, in the given order; none for an empty text.

    Raises:
        TuneMV3DError: something that is no number, or a negative one.
    """
    return tuple(dict.fromkeys(parse_consistency(word) for word in text.replace(",", " ").split()))


def _swept(default: Consistency) -> tuple[Consistency, ...]:
    """The frozen model, the modulated one and the checkpoint's own K, in rising order of their first value."""
    return tuple(sorted({0.0, 1.0, default}, key=check_consistency))


def _make_free(out: Path) -> None:
    """Find out before the work whether its results can be kept."""
    if (out / "evaluate.json").exists():
        raise TuneMV3DError(f"--out {out}: holds an evaluation already; choose another folder or remove it")
    try:
        (out / "pictures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuneMV3DError(f"--out {out}: cannot be used as a folder: {error}") from error


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=messages, transient=True)


def _header(checkpoint: str, spec: Any, settings: "Settings", model: Any, chosen: "Chosen") -> dict[str, Any]:
    """Everything that a reader needs to know to repeat an evaluation."""
    import torch

    from tunemv3d_core.config.run_spec import spec_id
    from tunemv3d_core.io.provenance import versions
    from tunemv3d_eval import __version__

    device, dtype = str(model.device), str(model.dtype).removeprefix("torch.")
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return {
        "format": FORMAT,
        "checkpoint": checkpoint,
        "spec_id": spec_id(spec),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": f"{device} ({name})",
        "dtype": dtype,
        "versions": {**versions(), "tunemv3d-eval": __version__},
        "settings": settings.as_json(),
        "figures": {name: figure.summary for each in chosen.metrics for name, figure in each.figures.items()},
        "metrics": {each.name: each.description() for each in chosen.metrics},
    }


def _show(report: dict[str, Any], out: Path, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        console.print(_table(report))
        console.print(f"{out / 'evaluate.json'}\n{out / 'pictures'}/", soft_wrap=True, highlight=False)


def _table(report: dict[str, Any]) -> Table:
    names = list(report["figures"])
    lower = {n for m in report["metrics"].values() for n, f in m["figures"].items() if not f["higher_is_better"]}
    table = Table(title=f"{report['checkpoint']}, {len(report['sampled']['objects'])} samples, {report['device']}")
    headings = [name.replace("_", " ") + (", lower is better" if name in lower else "") for name in names]
    for heading in ["K", *headings, "seconds"]:
        table.add_column(heading, justify="right")
    for row in report["sampled"]["means"]:
        table.add_row(
            format_consistency(row["consistency"]), *(_told(row[name]) for name in names), f"{row['seconds']:.0f}"
        )
    if report["real"]:
        table.add_row("real", *(_told(report["real"]["means"][name]) for name in names), "")
    return table


def _told(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value > 1 else f"{value:.3f}"
