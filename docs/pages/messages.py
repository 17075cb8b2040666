"""Every message that a person may meet, read from the source of the installed packages."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import tunemv3d_core.errors as errors
from pages.markdown import page, prose, table
from pages.reference import packages

KINDS = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
"""The error classes of core, in their order."""


def pages() -> dict[str, str]:
    """The page of all messages."""
    found = sorted(set(messages()))
    sections = []
    for kind in KINDS:
        rows = [[prose(text), f"`{package}`"] for named, text, package in found if named == kind]
        text = (getattr(errors, kind).__doc__ or "").partition("\n\n")[0]
        sections += [f"## {kind}", prose(text), table(["message", "package"], rows)] if rows else []
    return {"messages.md": page("# All messages", _INTRODUCTION, *sections)}


def messages() -> Iterator[tuple[str, str, str]]:
    """Every error that is raised with words: its class, its text with <names> for what is filled in, its package."""
    for package in packages():
        for file in sorted(_folder(package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in KINDS
                    and node.args
                ):
                    text = template(node.args[0])
                    if " " in text:
                        yield node.func.id, text, package


def template(node: ast.expr) -> str:
    """A message's text with <name> where a value is filled in; empty where it is made elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(template(value) if isinstance(value, ast.Constant) else _filled(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return template(left) + template(right)
    return ""


def _filled(node: ast.expr) -> str:
    """Return the placeholder's name: the outermost name in it that is not a function's."""
    called = {call.func for call in ast.walk(node) if isinstance(call, ast.Call)}
    names = (
        n.attr if isinstance(n, ast.Attribute) else getattr(n, "id", "") for n in ast.walk(node) if n not in called
    )
    return f"<{next(filter(None, names), '…').strip('_').lower()}>"


def _folder(package: str) -> Path:
    return Path(str(find_spec(package).origin)).parent  # type: ignore[union-attr]


_INTRODUCTION = """Every error with a message for people, as the source has it; <names> stand for what is filled in. A
command prints it on standard error, without a traceback, and ends with exit code 2.
[Troubleshooting](../troubleshooting.md) says more of the commonest."""
