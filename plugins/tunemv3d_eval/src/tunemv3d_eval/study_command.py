"""The command ``tunemv3d study``: several specs, trained and evaluated alike, and one report."""

from pathlib import Path
from typing import Annotated

import typer

from tunemv3d_core.cli.ending import OpenOption, say_next, show_result
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, TuneMV3DError

_SpecsArgument = Annotated[
    list[str],
    typer.Argument(help="Specs, by name or JSON file, or folders of runs and checkpoints; or one file of a study."),
]
_OutOption = Annotated[Path, typer.Option(help="Folder for runs, evaluations and the report.")]
_AtOption = Annotated[
    str, typer.Option(help="Steps whose checkpoints are evaluated; the last is the length; default: 500,1000,2000.")
]
_SeedsOption = Annotated[str, typer.Option(help="Training seeds, such as 0,1,2; default: 0.")]
_ProtocolOption = Annotated[str, typer.Option(help="Protocol of tunemv3d evaluate at those steps; default: study.")]
_FinalProtocolOption = Annotated[
    str, typer.Option(help="Protocol of one more evaluation, of the first seed's last checkpoints.")
]
_SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override of every spec: a.b=value. Repeatable.")]
_JobsOption = Annotated[int, typer.Option(min=1, help="Jobs side by side on a card, or on a machine without one.")]
_MinutesOption = Annotated[
    float | None,
    typer.Option(min=0, help="Time after which no job begins and those at work are asked to end; 0: only the report."),
]
_ExecutorOption = Annotated[
    str, typer.Option(help="Where jobs run: here, on all cards of this machine, or ray, on a Ray cluster.")
]
_AsJsonOption = Annotated[bool, typer.Option("--json", help="Print study.json instead of its place.")]


def study(
    specs: _SpecsArgument,
    out: _OutOption = Path("study"),
    at: _AtOption = "",
    seeds: _SeedsOption = "",
    protocol: _ProtocolOption = "",
    final_protocol: _FinalProtocolOption = "",
    set_: _SetOption = None,
    jobs: _JobsOption = 1,
    minutes: _MinutesOption = None,
    executor: _ExecutorOption = "here",
    show: OpenOption = False,
    as_json: _AsJsonOption = False,
) -> None:
    """Train specs with the same seeds, data and steps, evaluate them by one protocol, and compare them in one report.

    Every job is a process of its own; the same command goes on where a stop or a kill left it. All are compared with
    the first spec. A study's file (JSON) says more than options can: names, overrides and seeds of each variant, and
    several evaluations in the order of their importance.

    Exit code 1: something was not run; the report says what and why.
    """
    from tunemv3d_eval.study.engine import Engine, RayCluster, ThisMachine
    from tunemv3d_eval.study.plan import read_study, study_of
    from tunemv3d_eval.study.study import run_study

    if executor not in ("here", "ray"):
        raise TuneMV3DError(f"--executor {executor}: should be here or ray")
    if len(specs) == 1 and _is_study(specs[0]):
        options = {"--at": at, "--seeds": seeds, "--protocol": protocol, "--final-protocol": final_protocol}
        if given := [option for option, value in options.items() if value]:
            raise TuneMV3DError(f"{given[0]}: {specs[0]} says it; change it there")
        plan = read_study(Path(specs[0]))
        plan = plan.model_copy(update={"set": (*plan.set, *(set_ or []))})
    else:
        steps, numbers = _numbers("--at", at or "500,1000,2000"), _numbers("--seeds", seeds or "0")
        plan = study_of(specs, steps, numbers, protocol or "study", final_protocol, set_ or [])
    engine: Engine = RayCluster(jobs) if executor == "ray" else ThisMachine(jobs)
    try:
        content = run_study(plan, out, engine, minutes, lambda line: messages.print(line, soft_wrap=True))
    finally:
        engine.close()
    if as_json:
        print_json(content)
    else:
        for name in ("report.html", "report.md", "study.json"):
            console.print(str(out / name), soft_wrap=True, highlight=False)
    if show:
        show_result(out / "report.html")
    if content["missing"]:
        messages.print(f"{len(content['missing'])} jobs are not done; the same command goes on with them")
        raise typer.Exit(EXIT_FINDINGS)
    if not as_json:
        # The runs side by side; checkpoints that were given lie elsewhere.
        say_next("tunemv3d", "report", *(sorted(out.glob("runs/*")) or specs), "--open")


def _is_study(name: str) -> bool:
    """Return whether a JSON file is a study's and not a spec's."""
    from tunemv3d_core.errors import SpecError
    from tunemv3d_core.io.json_files import is_plain, read_json

    path = Path(name)
    return path.suffix == ".json" and is_plain(path) and "variants" in read_json(path, SpecError, name)


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise TuneMV3DError(f"{option} '{text}': give whole numbers between commas, such as 500,1000,2000") from None
