"""The packaged protocols as a table."""

import warnings
from typing import Any

from rich.table import Table

from tunemv3d_core.errors import TuneMV3DError, TuneMV3DWarning
from tunemv3d_eval.protocols.protocol import load_protocol, packaged
from tunemv3d_eval.scoring.chosen import Chosen, choose_metrics


def describe_protocols() -> list[dict[str, Any]]:
    """Describe every packaged protocol: what it asks, how much it samples, what it needs, what is missing for it."""
    found = []
    for name in packaged():
        protocol = load_protocol(name)
        with warnings.catch_warnings():  # what cannot be built here is told below
            warnings.simplefilter("ignore", TuneMV3DWarning)
            try:
                chosen = choose_metrics(protocol, load=False)
            except TuneMV3DError as error:
                chosen = Chosen(failed={"all": str(error)})
        found.append(
            {
                **protocol.model_dump(
                    mode="json", include={"name", "version", "summary", "seeds", "views", "consistency"}
                ),
                "prompts": len(protocol.texts()),
                "metrics": [each.name for each in chosen.metrics],
                "needs": sorted({str(need) for each in chosen.metrics for need in each.metric.needs}),
                "missing": chosen.skipped | chosen.failed,
            }
        )
    return found


def protocol_table(described: list[dict[str, Any]]) -> Table:
    """Return the table of ``describe_protocols`` for a terminal."""
    table = Table()
    for heading in ("protocol", "what it asks", "prompts", "metrics", "needs"):
        table.add_column(heading, overflow="fold")
    for each in described:
        prompts = f"{each['prompts']} x {each['seeds']}" if each["seeds"] > 1 else str(each["prompts"])
        missing = "".join(f"; {name} is left out: {reason}" for name, reason in each["missing"].items())
        needs = f"{', '.join(each['needs'])}{missing}"
        table.add_row(f"{each['name']} {each['version']}", each["summary"], prompts, ", ".join(each["metrics"]), needs)
    return table
