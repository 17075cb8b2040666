"""Components that a command line names: by a name, or by a block of options as a spec has it."""

from typing import Any

from pydantic import ValidationError

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.errors import describe_errors
from tunemv3d_core.errors import ComponentError, SpecError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.file_names import exists, path_of
from tunemv3d_core.io.json_files import NotJsonError, parse
from tunemv3d_core.plugins.registry import registry


def read_block(option: str, text: str) -> dict[str, Any] | None:
    """Read ``{"type": name, ...}``; None where the text is no JSON object but a word.

    Raises:
        SpecError: it begins like an object and is none, or has no type.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        block = parse(text)
    except NotJsonError as error:
        raise SpecError(f"{option} {shown(text)}: column {error.column}: not JSON: {error.reason}") from None
    except ValueError as error:
        raise SpecError(f"{option} {shown(text)}: {error}") from None
    if not isinstance(block.get("type"), str):
        raise SpecError(f'{option} {shown(text)}: should be a block {{"type": name, ...}}')
    return dict(block)


def named_dataset(option: str, text: str) -> dict[str, Any] | None:
    """Return the block of the installed dataset that a command line names; None where it names something else.

    Args:
        option: where the text stands, for messages.
        text: ``{"type": name, ...}``, or the name of a dataset alone, which then has its defaults. An asset, a folder
            and a file of the same name come first.

    Raises:
        SpecError: it begins like a block and is none.
    """
    if block := read_block(option, text):
        return block
    if exists(path_of(text)) or _is_installed("asset", text) or not _is_installed("dataset", text):
        return None
    return {"type": text}


def _is_installed(slot: str, name: str) -> bool:
    try:
        registry().find(slot, name)
    except ComponentError:
        return False
    return True


def options_of(slot: str, option: str, block: dict[str, Any]) -> ComponentSpec:
    """Check the options of the component that a block names.

    Raises:
        ComponentError: no such component, with a suggestion.
        SpecError: an option is unknown, missing or invalid; one line for each.
    """
    model = registry().get(slot, block["type"]).plugin.spec
    try:
        return model.model_validate(block)
    except ValidationError as error:
        lines = describe_errors(error, model, block)
        raise SpecError("\n".join(f"{option} {block['type']}: {line}" for line in lines)) from None
