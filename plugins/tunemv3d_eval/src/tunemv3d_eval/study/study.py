"""A study from its plan to its report."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunemv3d_core.config.run_spec import RunSpec, spec_id
from tunemv3d_core.errors import SpecError
from tunemv3d_core.io.json_files import read_json, write_json
from tunemv3d_eval.protocols.protocol import load_protocol
from tunemv3d_eval.study.engine import Engine
from tunemv3d_eval.study.jobs import Job, Records, jobs_of
from tunemv3d_eval.study.plan import Study, resolved_specs
from tunemv3d_eval.study.report import write_report
from tunemv3d_eval.study.results import Report, compared, read_reports, training_figures
from tunemv3d_eval.study.sheets import write_sheets
from tunemv3d_eval.study.work import Told, alone_in, work_through

FORMAT = "tunemv3d-study/1"


def run_study(study: Study, out: Path, engine: Engine, minutes: float | None, tell: Told) -> dict[str, Any]:
    """Do what is not done yet of a study, and write its report; also when it is interrupted.

    Args:
        study: the plan.
        out: the study's folder, made here or by an earlier call.
        engine: where the jobs run.
        minutes: after this time no job is begun, and those at work are asked to end.
        tell: is given a line for each job that begins and ends.

    Returns:
        The content of ``study.json``.

    Raises:
        TuneMV3DError: no such protocol, or something that cannot be compared, before any work; another study is at work
            in the folder.
    """
    for evaluation in study.evaluations.values():
        load_protocol(evaluation.protocol)
    specs = resolved_specs(study)
    jobs = jobs_of(study, specs, out)
    _check_folder(out)
    with alone_in(out):
        missing = None
        try:
            missing = work_through(jobs, engine, out, minutes, tell)
        finally:
            if missing is None:
                missing = {job.name: "the study was interrupted" for job in Records(out / "jobs.jsonl").undone(jobs)}
            content = summary(study, specs, jobs, missing, out)
            write_json(out / "study.json", content, durable=True)
            write_report(out, content)
    return content


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something else."""
    if out.is_dir() and any(out.iterdir()) and not (out / "lock").exists():
        found = out / "study.json"
        if not found.is_file() or read_json(found).get("format") != FORMAT:
            raise SpecError(f"--out {out}: not empty, and not a study's folder; choose another")


def summary(
    study: Study, specs: dict[str, RunSpec], jobs: list[Job], missing: dict[str, str], out: Path
) -> dict[str, Any]:
    """Gather everything that a study has found so far: the content of ``study.json``."""
    reports, warnings = read_reports(jobs)
    evaluations = {}
    for name, evaluation in study.evaluations.items():
        own = [report for report in reports if name in report.job.evaluations]
        found = compared(study, specs, name, own)
        warnings += [f"{name}: {text}" for text in found.pop("warnings")]
        protocol = own[0].content["protocol"] if own else None
        evaluations[name] = {"protocol": evaluation.protocol, "settings": protocol, **found}
    variants = {
        name: {
            "source": each.spec or each.checkpoint,
            "summary": each.summary,
            "spec_id": spec_id(specs[name]),
            "has_field": specs[name].model.field is not None,
        }
        for name, each in study.variants.items()
    }
    return {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "devices": sorted({str(report.content["device"]) for report in reports}),
        "versions": _versions(reports),
        "study": study.model_dump(mode="json"),
        "variants": variants,
        "evaluations": evaluations,
        "training": training_figures(study, out),
        "pictures": write_sheets(study, reports, out),
        "missing": missing,
        "jobs": _times(jobs, Records(out / "jobs.jsonl")),
        "warnings": warnings,
    }


def _versions(reports: list[Report]) -> list[dict[str, str]]:
    """What evaluated, each once: a report is often written elsewhere than its evaluations."""
    found: list[dict[str, str]] = []
    for report in reports:
        if (used := report.content["versions"]) not in found:
            found.append(used)
    return found


def _times(jobs: list[Job], records: Records) -> list[dict[str, Any]]:
    """How long each job took, all tries together."""
    tries = list(records)
    times = []
    for job in jobs:
        own = [each for each in tries if each["job"] == job.name]
        if own:
            seconds = round(sum(each["seconds"] for each in own), 1)
            times.append({"job": job.name, "seconds": seconds, "tries": len(own), "place": own[-1]["place"]})
    return times
