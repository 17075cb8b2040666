"""``tunemv3d plugins``: list, describe, check, write and release components."""

from dataclasses import asdict
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.cli.load_command import load_command
from tunemv3d_core.cli.options import JsonOption
from tunemv3d_core.cli.plugin_check import check
from tunemv3d_core.cli.plugin_list import print_rows, rows_of
from tunemv3d_core.cli.plugin_new import new
from tunemv3d_core.console import console, print_json, print_table
from tunemv3d_core.errors import EXIT_FINDINGS, ComponentError, suggestion
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS, SLOTS, ComponentPlugin
from tunemv3d_core.plugins.discovery import EntryPointRecord
from tunemv3d_core.plugins.isolated_import import probe_third_party
from tunemv3d_core.plugins.registry import registry

_RELEASE = "plugins.release"


class _Commands(TyperGroup):
    """The commands below, where ``release`` is the one of tunemv3d-release as soon as that is installed."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name == "release" and _RELEASE in registry().names("command"):
            return load_command(_RELEASE)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(cls=_Commands, no_args_is_help=True, help="List, describe, check, write and release components.")


@app.command("list")
def list_(
    load: Annotated[
        bool, typer.Option("--load", help="Import all of each one, in another process, and say what is broken.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="With --load: time limit of one import.")] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """List installed components, packaged files and commands. Reads metadata only, unless --load is given."""
    rows = rows_of(load, seconds)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows)
        component = next((row["name"] for row in rows if row["slot"] in COMPONENT_SLOTS), "plugins")
        say_next("tunemv3d", "plugins", "show", component)
    if any(row.get("problem") for row in rows):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A name from `plugins list`.")], as_json: JsonOption = False) -> None:
    """Describe what is installed under a name: where it comes from, and its options."""
    found = _find(name)
    probe_third_party(["aggregator"])  # options of fields list them all
    described = [_description(record) for record in found]
    if as_json:
        print_json(described)
        return
    for description in described:
        _print_description(description)
    say_next("tunemv3d", *_after(found[0].slot, name))


app.command()(check)
app.command()(new)


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def release() -> None:
    """Build distributions and check them as an index and a user would (a package of its own: tunemv3d[release])."""
    raise ComponentError("`plugins release` is in a package of its own: pip install 'tunemv3d[release]'")


def _after(slot: str, name: str) -> tuple[str, ...]:
    """Return the words of the command that goes on with what is in a slot."""
    if slot in COMPONENT_SLOTS:
        return "plugins", "check", name
    return {"spec": ("spec", "show", name), "command": (*name.split("."), "--help")}.get(slot, ("plugins", "list"))


def _find(name: str) -> list[EntryPointRecord]:
    """Return the records of this name in every slot; "distribution:name" narrows it down."""
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
    from tunemv3d_core.config.schema import options_of  # which needs pydantic; `list` does not

    value = registry().load(record)
    description = asdict(record) | {"file": _file(record.value)}
    if isinstance(value, ComponentPlugin):
        stated = {"summary": value.summary, "reference": value.reference, "api": value.api, "build": value.build}
        return description | stated | {"renamed_to": value.renamed_to, "options": options_of(value.spec)}
    if record.slot == "command":
        return description | {"summary": value.summary, "app": value.app}
    return description | {"path": str(value)}


def _file(value: str) -> str | None:
    module = find_spec(value.partition(":")[0].strip())
    return module.origin if module else None


def _print_description(description: dict[str, Any]) -> None:
    from tunemv3d_core.config.schema import describe_type

    options = description.pop("options", None)
    console.print(Text.assemble((description.pop("name"), "bold"), f"  {description.pop('slot')}"))
    table = Table(box=None, show_header=False)
    for key, value in description.items():
        if value:
            table.add_row(key, str(value))
    print_table(table)
    if options:
        listed = Table("option", "type", "default", "description", box=None, header_style="bold", title_justify="left")
        for name, option in options.items():
            default = "" if option["required"] else _shown(option.get("default"))
            listed.add_row(name, describe_type(option), default, option.get("description", ""))
        print_table(listed)
    console.print()


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
