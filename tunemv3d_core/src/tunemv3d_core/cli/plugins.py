"""``tunemv3d plugins``: what is installed, from where, whether it works, and what its options mean."""

from dataclasses import asdict
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from tunemv3d_core.cli.plugin_check import check
from tunemv3d_core.cli.plugin_new import new
from tunemv3d_core.cli.plugin_release import release
from tunemv3d_core.console import console, print_json
from tunemv3d_core.discovery import EntryPointRecord
from tunemv3d_core.errors import EXIT_FINDINGS, ComponentError
from tunemv3d_core.plugin import SLOTS, ComponentPlugin
from tunemv3d_core.registry import registry, suggestion
from tunemv3d_core.schema import options_of, told_type

app = typer.Typer(no_args_is_help=True, help="List, describe, check, write and release components.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    load: Annotated[bool, typer.Option("--load", help="Import each one and say what is broken.")] = False,
    as_json: Json = False,
) -> None:
    """List installed components, packaged files and commands. Reads metadata only, unless --load is given."""
    rows = [_row(record, load) for slot in SLOTS for record in registry().records(slot)]
    if as_json:
        print_json(rows)
    else:
        _print_rows(rows)
    if any(row.get("problem") for row in rows):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A name from `plugins list`.")], as_json: Json = False) -> None:
    """Describe what is installed under a name: where it comes from, and its options."""
    found = _find(name)
    described = [_description(record) for record in found]
    if as_json:
        print_json(described)
        return
    for description in described:
        _print_description(description)


app.command()(check)
app.command()(new)
app.command()(release)


def _row(record: EntryPointRecord, load: bool) -> dict[str, Any]:
    row = asdict(record)
    rivals = [r.distribution for r in registry().records(record.slot) if r.name == record.name and r != record]
    if rivals:
        row["duplicates"] = rivals
    if load:
        problem = registry().problem(record)
        row["problem"] = problem.cause if problem else None
    return row


def _print_rows(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "slot", Column("name", overflow="fold"), "distribution", "version", "note", box=None, header_style="bold"
    )
    for row in rows:
        note = f"also in {', '.join(row['duplicates'])}" if "duplicates" in row else ""
        if "problem" in row:
            note = row["problem"] or note or "loads"
        table.add_row(row["slot"], row["name"], row["distribution"], row["version"], note)
    console.print(table)


def _find(name: str) -> list[EntryPointRecord]:
    """Records of this name in every slot; "distribution:name" narrows it down."""
    installed = registry()
    found = []
    for slot in SLOTS:
        if name in {record.name for record in installed.records(slot)} or ":" in name:
            try:
                found.append(installed.find(slot, name))
            except ComponentError:
                found += [record for record in installed.records(slot) if record.name == name]
    if not found:
        names = sorted({name for slot in SLOTS for name in installed.names(slot)})
        raise ComponentError(
            f"nothing is installed as '{name}'.{suggestion(name, names)} Installed: {', '.join(names)}"
        )
    return found


def _description(record: EntryPointRecord) -> dict[str, Any]:
    value = registry().load(record)
    description = asdict(record) | {"file": _file(record.value)}
    if isinstance(value, ComponentPlugin):
        told = {"summary": value.summary, "reference": value.reference, "api": value.api, "build": value.build}
        return description | told | {"options": options_of(value.spec)}
    if record.slot == "command":
        return description | {"summary": value.summary, "app": value.app}
    return description | {"path": str(value)}


def _file(value: str) -> str | None:
    module = find_spec(value.partition(":")[0].strip())
    return module.origin if module else None


def _print_description(description: dict[str, Any]) -> None:
    options = description.pop("options", None)
    console.print(f"[bold]{description.pop('name')}[/bold]  {description.pop('slot')}", highlight=False)
    table = Table(box=None, show_header=False)
    for key, value in description.items():
        if value:
            table.add_row(key, str(value))
    console.print(table, highlight=False)
    if options:
        listed = Table("option", "type", "default", "description", box=None, header_style="bold", title_justify="left")
        for name, option in options.items():
            default = "" if option["required"] else _shown(option.get("default"))
            listed.add_row(name, told_type(option), default, option.get("description", ""))
        console.print(listed)
    console.print()


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
