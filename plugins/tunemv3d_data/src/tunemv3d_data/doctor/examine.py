"""Round of the doctor: every object in turn or in several processes, then the dataset as a whole."""

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_data.doctor.checks import OBJECT_CHECKS, OUR_CHECKS, cameras, duplicates, texts
from tunemv3d_data.doctor.drawings import draw, draw_pair
from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.fit import shifted_errors
from tunemv3d_data.doctor.summary import Summary
from tunemv3d_data.doctor.tokens import Tokens
from tunemv3d_data.doctor.views import ObjectViews, open_views
from tunemv3d_data.handing_over import handed_over, taken_over
from tunemv3d_data.layouts import OURS, Collection

MENDED_AT_THE_SOURCE = ("camera-convention", "camera-units", "picture-order")
_OF_CAMERAS = ("camera-", "object-", "off-centre", "world-up")
"""Checks whose advice is how to change poses and intrinsics."""


@dataclass(frozen=True)
class Round:
    """Dataset to look at, and how.

    Attributes:
        source: the dataset, of any layout.
        pictures: folder for pictures of what is found, None for none.
        text_encoder: folder or hub id whose tokenizer counts captions, None for an estimate.
        opt_out: works that should not be in it.
    """

    source: Collection
    pictures: Path | None = None
    text_encoder: str | None = None
    opt_out: OptOut = field(default_factory=OptOut)

    def views(self, id_: str) -> ObjectViews:
        """Open one object, its cameras unchecked."""
        return open_views(self.source, id_)


def examine(round_: Round, workers: int = 1, done: Callable[[], object] = lambda: None) -> list[Finding]:
    """Look at every object of a dataset, then at all of them together.

    Args:
        round_: what to look at.
        workers: processes.
        done: called after every object.

    Returns:
        The findings, in the dataset's order, those of the whole dataset last.

    Raises:
        DatasetError: a worker died; an object that cannot be read is a finding instead.
        ComponentError: the text encoder has no tokenizer.
    """
    ids = round_.source.ids
    Tokens(round_.text_encoder)
    found: dict[str, tuple[list[Finding], Summary | None]] = {}
    for id_, findings, summary in _all(round_, ids, workers):
        found[id_] = (findings, summary)
        done()
    summaries = [summary for id_ in ids if (summary := found[id_][1]) is not None]
    together = [_drawn(round_, finding) for finding in _dataset_checks(round_, summaries)]
    return [finding for id_ in ids for finding in found[id_][0]] + together


def examine_object(round_: Round, tokens: Tokens, id_: str) -> tuple[str, list[Finding], Summary | None]:
    """Look at one object; what keeps it from being read is a finding, too, and so is what a check stumbles over."""
    try:
        views = round_.views(id_)
        views.pictures  # noqa: B018
    except Exception as error:  # other people's files provoke errors of any kind
        return id_, [_unreadable(id_, "", error, "restore the file, or take the object out of the dataset")], None
    findings = [
        *texts.too_long(views.record, tokens.count, tokens.limit),
        *texts.opted_out(views.record, round_.opt_out),
    ]
    checks = (*OUR_CHECKS, *OBJECT_CHECKS) if round_.source.layout == OURS else OBJECT_CHECKS
    advice = "restore the file, or take it out of the record"
    for check in checks:
        try:
            findings += (_for_layout(round_.source.layout, finding) for finding in check(views))
        except Exception as error:
            findings.append(_unreadable(id_, f"{check.__name__}: ", error, advice))
    if round_.pictures is not None:
        findings = [draw(views, finding, round_.pictures) for finding in findings]
    try:
        shifted = shifted_errors(views.seen) if views.fit is not None and views.fit.fits else ()
        summary = Summary(views.record, duplicates.digests(views), duplicates.look(views), shifted)
    except Exception as error:
        return id_, [*findings, _unreadable(id_, "summary: ", error, advice)], None
    return id_, findings, summary


def _unreadable(id_: str, where: str, error: Exception, advice: str) -> Finding:
    said = str(error) if isinstance(error, TuneMV3DError) else f"{where}{type(error).__name__}: {error}"
    return Finding("unreadable", id_, said.split("\n")[0], advice)


def _dataset_checks(round_: Round, summaries: Sequence[Summary]) -> Iterator[Finding]:
    records = [summary.record for summary in summaries]
    yield from cameras.half_pixel(summaries)
    yield from duplicates.same_source(summaries)
    yield from duplicates.same_pictures(summaries)
    yield from duplicates.same_looks(summaries)
    yield from texts.common_captions(records)
    if round_.source.layout == OURS:
        yield from texts.attribution(round_.source.path, records)


def _for_layout(layout: str, finding: Finding) -> Finding:
    """Cameras of another layout are judged as ``data convert`` would write them; what it refuses, its source mends."""
    if layout == OURS or not finding.check.startswith(_OF_CAMERAS):
        return finding
    if finding.check in MENDED_AT_THE_SOURCE:
        return replace(finding, text=f"as the layout {layout} is read, {finding.text}")
    how = f"after tunemv3d data convert --layout {layout}, in its transforms.json: {finding.advice}"
    return replace(finding, text=f"as the layout {layout} is read, {finding.text}", advice=how)


def _drawn(round_: Round, finding: Finding) -> Finding:
    if round_.pictures is None or not finding.object:
        return finding
    objects = [round_.views(id_) for id_ in (finding.object, *finding.others[:1])]
    return draw_pair(objects, finding, round_.pictures)


_Result = tuple[str, list[Finding], Summary | None]


def _all(round_: Round, ids: Sequence[str], workers: int) -> Iterator[_Result]:
    """Results as they come, from this process or from ``workers`` others."""
    if workers <= 1:
        tokens = Tokens(round_.text_encoder)
        yield from (examine_object(round_, tokens, id_) for id_ in ids)
        return
    context = multiprocessing.get_context("spawn")
    workers = min(workers, 61) if sys.platform == "win32" else workers  # as many as the pool takes there
    with (
        handed_over(round_) as file,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(file,)) as pool,
    ):
        running = [pool.submit(_work, id_) for id_ in ids]
        try:
            for future in as_completed(running):
                yield future.result()
        except BrokenProcessPool:
            raise DatasetError("a worker died, perhaps for want of memory; run it again with fewer --workers") from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_worker: tuple[Round, Tokens] | None = None


def _start_worker(file: Path) -> None:
    """Set up a worker. Ctrl-C is the parent's: workers finish the object that they are at."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    round_: Round = taken_over(file)
    _worker = (round_, Tokens(round_.text_encoder))


def _work(id_: str) -> _Result:
    assert _worker is not None
    return examine_object(*_worker, id_)
