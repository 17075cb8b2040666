"""Run diffusers' own pipeline tests on ``TuneMV3DPipeline``: ``python benchmarks/diffusers_mixins.py CHECKOUT``.

CHECKOUT is a folder with diffusers' ``tests``, which need parameterized and requests-mock, and scipy and torchsde for
every scheduler. Writes JSON: of every test if it passed, was skipped and why, or failed and why that is right. Exit
code 1: a test failed that has no reason in ``REASONS``.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

ONE_FILE = (
    "a checkpoint is one file of tuned weights, never several beside each other: save_pretrained(variant=...) is "
    "refused by name, and from_pretrained knows no such file"
)

REASONS = {
    "test_multi_vae": (
        "builds the pipeline from a vae; the model is one component here (docs/adr/0009), and pipe.vae = other puts "
        "another autoencoder in"
    ),
    "test_serialization_with_variants": ONE_FILE,
    "test_loading_with_variants": ONE_FILE,
    "test_loading_with_incorrect_variants_raises_error": ONE_FILE,
}
"""Why a test that fails should."""


class Recorder:
    """A pytest plugin that keeps every test's outcome."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep one phase of a test."""
        name = report.nodeid.partition("::")[2]
        if report.failed:
            self.outcomes[name] = {"outcome": "failed", "error": _last_line(report)}
        elif report.skipped and not hasattr(report, "wasxfail"):
            self.outcomes[name] = {"outcome": "skipped", "why": re.sub(r"^Skipped: ", "", str(report.longrepr[2]))}
        elif report.when == "call":
            self.outcomes.setdefault(name, {"outcome": "passed"})


def _last_line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr).split("\n")[0][:200]


def described(outcomes: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Add the reason to each test that failed with one."""
    for name, told in outcomes.items():
        test = name.rpartition("::")[2].partition("[")[0]
        if told["outcome"] == "failed" and test in REASONS:
            told["reason"] = REASONS[test]
    return dict(sorted(outcomes.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--commit", default="", help="of the checkout; default: what git says")
    parser.add_argument("--out", type=Path, help="a file for the JSON, else it is printed")
    parser.add_argument("-k", dest="only", default="", help="only tests of this expression, as pytest takes it")
    options = parser.parse_args()
    if not (options.checkout / "tests/pipelines/test_pipelines_common.py").is_file():
        sys.exit(f"{options.checkout}: holds no tests/pipelines of diffusers")
    sys.path[:0] = [str(options.checkout.resolve()), str(HERE.parent / "tunemv3d_modulation/tests")]

    import diffusers
    import pytest
    import tiny_pipelines
    import torch

    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TINY_BASE"] = str(tiny_pipelines.save(Path(folder) / "base", "sd15"))
        chosen = ["-k", options.only] if options.only else []
        quiet = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "-W", "ignore", "--tb", "short"]
        pytest.main([str(HERE / "diffusers_mixin_classes.py"), *quiet, *chosen], plugins=[recorder])
    tests = described(recorder.outcomes)
    commit = (
        options.commit
        or subprocess.run(
            ["git", "-C", options.checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
    )
    count = {kind: sum(t["outcome"] == kind for t in tests.values()) for kind in ("passed", "skipped", "failed")}
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__, "tests": commit},
        "count": count,
        "tests": tests,
    }
    text = json.dumps(report, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text)
    unexplained = [name for name, t in tests.items() if t["outcome"] == "failed" and "reason" not in t]
    sys.exit(f"failed without a reason: {', '.join(unexplained)}" if unexplained else 0)


if __name__ == "__main__":
    main()
