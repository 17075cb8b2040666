"""``tunemv3d plugins check``: the conformance kit in a shell."""

import traceback
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.cli.options import JsonOption
from tunemv3d_core.console import console, messages, print_json, print_table
from tunemv3d_core.errors import EXIT_FINDINGS, ComponentError, SpecError, suggestion
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.json_files import parse
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS, SLOTS
from tunemv3d_core.plugins.registry import registry

if TYPE_CHECKING:
    from tunemv3d_core.testing import Result
    from tunemv3d_core.testing.suite import Suite

_STYLES = {"failed": "bold red", "passed": "green"}


def check(
    name: Annotated[str, typer.Argument(help="A component from `plugins list`.")],
    slot: Annotated[str | None, typer.Option(help="Its slot, where several have one of this name.")] = None,
    spec: Annotated[str, typer.Option(help="Options over its defaults as JSON, best ones that make it tiny.")] = "{}",
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Run this check alone; repeatable.")] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK=WHY", help="A check that is known to fail, and why; repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="Device on which it is built and called, such as cuda.")] = "cpu",
    verbose: Annotated[bool, typer.Option(help="Print what each failed check raised, line by line.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run all checks of its slot on a component. Exit code 1 if one fails, or an expected failure passes."""
    # Building components needs torch; listing them does not.
    from tunemv3d_core.devices import find_device
    from tunemv3d_core.testing.check import FINDINGS
    from tunemv3d_core.testing.suite import Suite

    given = _options(spec)
    slots = _slots(name, slot)
    if given and len(slots) > 1:
        raise SpecError(
            f"'{name}' is in the slots {' and '.join(slots)}; say which one these options are for: --slot {slots[0]}"
        )
    if (only or expect) and len(slots) > 1:
        raise ComponentError(f"'{name}' is in the slots {' and '.join(slots)}; say whose checks: --slot {slots[0]}")
    where, reasons = str(find_device(device)), _reasons(expect or [])
    suites = {of: Suite(of, name, given, reasons, where, only or ()) for of in slots}
    for suite in suites.values():
        suite.check_options()
    results = {of: _run(suite, of) for of, suite in suites.items()}
    if as_json:
        print_json([_record(name, of, suites[of], found) for of, found in results.items()])
    else:
        for of, found in results.items():
            _print_results(f"{of} {name}", found)
            if verbose:
                _print_errors(found)
        say_next("tunemv3d", "plugins", "show", name)
    if any(result.outcome in FINDINGS for found in results.values() for result in found):
        raise typer.Exit(EXIT_FINDINGS)


def _options(spec: str) -> dict[str, Any]:
    try:
        given = parse(spec)
    except ValueError as error:
        raise SpecError(f"--spec: {error}. Write it as '{{\"hidden\": 16}}'") from None
    if not isinstance(given, dict):
        raise SpecError(f"--spec should be options by name, such as '{{\"hidden\": 16}}', not {shown(spec)}")
    return given


def _reasons(expect: list[str]) -> dict[str, str]:
    """Return the reason of each expected failure."""
    reasons = {}
    for each in expect:
        check_name, _, why = each.partition("=")
        if not check_name.strip() or not why.strip():
            raise ComponentError(f"--expect should be a check and why, such as autocast=reason, not {shown(each)}")
        reasons[check_name.strip()] = why.strip()
    return reasons


def _slots(name: str, slot: str | None) -> list[str]:
    """Return the slots in which a component of this name is installed."""
    installed = registry()
    if slot is not None:
        if slot not in COMPONENT_SLOTS:
            known = ", ".join(COMPONENT_SLOTS)
            raise ComponentError(f"no slot '{slot}' of components.{suggestion(slot, COMPONENT_SLOTS)} Slots: {known}")
        installed.find(slot, name)
        return [slot]
    plain = name.rpartition(":")[2]
    found = [s for s in SLOTS if plain in {record.name for record in installed.records(s)}]
    components = [s for s in found if s in COMPONENT_SLOTS]
    if found and not components:
        raise ComponentError(f"'{name}' is in the slot '{found[0]}'; only components can be checked")
    if not components:
        names = sorted({known for s in COMPONENT_SLOTS for known in installed.names(s)})
        raise ComponentError(f"no component '{name}'.{suggestion(name, names)} Installed: {', '.join(names)}")
    for each in components:
        installed.find(each, name)
    return components


def _run(suite: "Suite", slot: str) -> "list[Result]":
    found = []
    with messages.status(slot) as status:
        for each in suite.checks:
            status.update(f"{slot}: {each.summary}")
            found.append(suite.result(each))
    return found


def _record(name: str, slot: str, suite: "Suite", found: "list[Result]") -> dict[str, Any]:
    asked = {each.name: each.summary for each in suite.checks}
    rows = [
        {
            "check": r.check,
            "asks": asked[r.check],
            "outcome": r.outcome,
            "note": r.note,
            "where": r.where,
            "seconds": round(r.seconds, 2),
        }
        for r in found
    ]
    return {"slot": slot, "name": name, "checks": rows}


def _print_results(title: str, found: "list[Result]") -> None:
    table = Table("check", "outcome", Column("CPU s", justify="right"), Column("note", overflow="fold"), box=None)
    for result in found:
        outcome = Text(result.outcome, _STYLES.get(result.outcome, "yellow"))
        note = f"{result.note} ({result.where})" if result.where else result.note
        table.add_row(result.check, outcome, f"{result.seconds:.1f}", Text(note))
    passed = sum(result.outcome == "passed" for result in found)
    console.print(Text.assemble((title, "bold"), f": {passed} of {len(found)} checks passed"))
    print_table(table)


def _print_errors(found: "list[Result]") -> None:
    """Print the traceback of each failed check."""
    for result in found:
        if result.error is not None:
            told = "".join(traceback.format_exception(result.error))
            console.print(Text.assemble((result.check, "bold"), "\n", told))
