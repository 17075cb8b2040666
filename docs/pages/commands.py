"""One page per command, from the words that its own ``--help`` prints."""

import re
from typing import Any

import typer

from pages.markdown import code, page, prose, table, toctree
from tunemv3d_core.console import command_of
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.registry import load_value, registry

TRAIN = ("tunemv3d-train", "tunemv3d_train.cli:train")
"""The one command that has a console script of its own."""


def pages() -> dict[str, str]:
    """The commands' pages and their index."""
    found = {TRAIN[0]: _loaded(*TRAIN)}
    for name in (name for name in registry().names("command") if "." not in name):
        plugin = registry().load(registry().find("command", name))
        found[f"tunemv3d {name}"] = _loaded(name, plugin.app)
    texts = {f"commands/{_file(line)}.md": _command_page(line, command) for line, command in found.items()}
    rows = [
        [f"[{line}]({_file(line)}.md)", prose(_first_sentence(getattr(command, "help", None) or str(command)))]
        for line, command in found.items()
    ]
    index = page("# Commands", _INTRODUCTION, table(["command", "what it does"], rows), toctree(map(_file, found)))
    return texts | {"commands/index.md": index}


def _loaded(name: str, app: str) -> Any:
    try:
        return command_of(load_value(app), name)
    except (Exception, SystemExit) as error:
        return ComponentError(f"'{app}' does not load: {type(error).__name__}: {error}")


def _file(line: str) -> str:
    return line.replace(" ", "-")


def _command_page(line: str, command: Any) -> str:
    if isinstance(command, ComponentError):
        return page(f"# {line}", f"Broken: {prose(str(command))}")
    parts = getattr(command, "commands", None)
    if parts is None:
        return page(f"# {line}", _described(line, command))
    asked = {name: command.get_command(typer.Context(command), name) for name in parts}
    sections = (page(f"## {line} {name}", _described(f"{line} {name}", part)) for name, part in asked.items())
    return page(f"# {line}", _words(command.help), *sections)


def _described(line: str, command: Any) -> str:
    context = typer.Context(command, info_name=line)
    usage = " ".join([line, *command.collect_usage_pieces(context)])
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    given = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
    return page(
        _words(command.help),
        f"```text\n{usage}\n```",
        _listed("argument", arguments, context),
        _listed("option", given, context),
    )


def _listed(kind: str, parameters: list[Any], context: Any) -> str:
    records = (parameter.get_help_record(context) for parameter in parameters)
    return table([kind, "what it is"], ([code(name), prose(text)] for name, text in filter(None, records)))


def _first_sentence(text: str) -> str:
    return re.split(r"\.\s", text, maxsplit=1)[0].rstrip(".") + "."


def _words(help_: str | None) -> str:
    """A help text's paragraphs."""
    return "\n\n".join(prose(paragraph) for paragraph in (help_ or "").split("\n\n"))


_INTRODUCTION = """Every command ends with 0: done; 1: done, with findings or refused items, which are listed; 2: bad
input, nothing was done; 130: interrupted, and the same command goes on. `--json` prints results for machines on
standard output; messages and progress go to standard error. `tunemv3d --help` lists what is installed and imports
none of it."""
