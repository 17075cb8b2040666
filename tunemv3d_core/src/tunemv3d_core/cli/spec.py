"""``tunemv3d spec``: show, validate and compare specs; print their JSON Schema."""

import json
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec, canonical_json, spec_id
from tunemv3d_core.config.schema import spec_schema
from tunemv3d_core.console import console, print_json, print_table, show_error
from tunemv3d_core.errors import EXIT_FINDINGS, TuneMV3DError
from tunemv3d_core.foreign_text import harmless_json
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS
from tunemv3d_core.plugins.isolated_import import probe_third_party

app = typer.Typer(no_args_is_help=True, help="Show, validate and compare specs; print their JSON Schema.")

Name = Annotated[str, typer.Argument(help="Name of an installed spec, or a JSON file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def schema() -> None:
    """Print the JSON Schema of the installed components, for editors: name its file in a spec's "$schema"."""
    probe_third_party(COMPONENT_SLOTS)
    print_json(spec_schema())


@app.command()
def show(
    name: Name,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override an option.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print exactly the text whose sha256 is the id.")] = False,
) -> None:
    """Show a spec with everything that it extends and all defaults."""
    spec = load_spec(name, set_ or ())
    if as_json:
        print(harmless_json(canonical_json(spec)))
        return
    table = Table(Column("option", overflow="fold"), "value", box=None, header_style="bold")
    for path, value in flat(spec).items():
        table.add_row(path, _shown(value))
    print_table(table)
    console.print(f"id {spec_id(spec)}", highlight=False, soft_wrap=True)
    say_next("tunemv3d-train", name, *(word for each in set_ or () for word in ("--set", each)))


@app.command()
def validate(
    files: Annotated[list[str], typer.Argument(help="Names of installed specs, or JSON files.")], as_json: Json = False
) -> None:
    """Check specs and list every error. Exit code 1 if there is one."""
    results = [_validated(name) for name in files]
    if as_json:
        print_json([{k: v for k, v in result.items() if k != "raised"} for result in results])
    for result in results:
        if not result["valid"]:
            show_error(result["raised"])
        elif not as_json:
            console.print(f"{result['spec']}: valid, id {result['id'][:12]}", highlight=False, soft_wrap=True)
    valid = [result["spec"] for result in results if result["valid"]]
    if valid and not as_json:
        say_next("tunemv3d-train", valid[0])
    if len(valid) < len(results):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def diff(first: Name, second: Name, as_json: Json = False) -> None:
    """Show the options in which two resolved specs differ."""
    ours, theirs = flat(load_spec(first)), flat(load_spec(second))
    paths = [path for path in {**ours, **theirs} if ours.get(path) != theirs.get(path)]
    if as_json:
        print_json({path: [ours.get(path), theirs.get(path)] for path in paths})
        return
    table = Table(Column("option", overflow="fold"), first, second, box=None, header_style="bold")
    for path in paths:
        table.add_row(path, _shown(ours.get(path)), _shown(theirs.get(path)))
    if paths:
        print_table(table)
    else:
        console.print("no difference")
    say_next("tunemv3d", "study", first, second)


def flat(spec: RunSpec) -> dict[str, Any]:
    """Return a resolved spec's values by dotted path, in the order of the spec."""
    values: dict[str, Any] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{path}.{key}" if path else key, inner)
        else:
            values[path] = value

    walk("", spec.model_dump(mode="json"))
    return values


def _validated(name: str) -> dict[str, Any]:
    try:
        return {"spec": name, "valid": True, "id": spec_id(load_spec(name)), "errors": []}
    except TuneMV3DError as error:
        return {"spec": name, "valid": False, "id": None, "errors": str(error).splitlines(), "raised": error}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
