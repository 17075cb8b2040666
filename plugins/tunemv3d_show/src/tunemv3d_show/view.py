"""The command ``tunemv3d view``: a live viewer of a checkpoint in the browser."""

import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunemv3d_core.cli.ending import OpenOption, show_result
from tunemv3d_core.cli.model_options import (
    BaseOption,
    CheckpointArgument,
    DeviceOption,
    DtypeOption,
    EmbeddingOption,
    LoraOption,
    OffloadOption,
    read_placement,
)
from tunemv3d_core.console import console, messages
from tunemv3d_core.errors import ComponentError

if TYPE_CHECKING:
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.placement import Placement


def view(
    checkpoint: CheckpointArgument,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page; the next free one is taken.")] = 8080,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines connect, with a token.")] = "127.0.0.1",
    out: Annotated[Path, typer.Option(help="Folder that gets exported objects.")] = Path("samples"),
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    show: OpenOption = False,
) -> None:
    """Type a prompt and watch the object appear: views, the field's guess and its surface, step by step.

    Cameras can be moved and added, K and guidance changed, and any step branched from; the result is exported as
    `tunemv3d sample` writes it.
    """
    for module, name in (("viser", "viser"), ("skimage", "scikit-image")):
        if find_spec(module) is None:
            raise ComponentError(f"tunemv3d view needs {name}: pip install 'tunemv3d-show[view]'")
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.io.sample_files import check_writable

    check_writable(out)
    place, added = read_placement(device, dtype, offload), Additions.of(base, lora, embedding)
    server = open_viewer(checkpoint, port, host, out, place, added).server
    if show:
        show_result(f"http://127.0.0.1:{server.get_port()}/")
    server.sleep_forever()


def open_viewer(checkpoint: str, port: int, host: str, out: Path, place: "Placement", added: "Additions") -> Any:
    """Load the checkpoint and open its page."""
    # Heavy: torch, whatever the checkpoint's components need, and viser.
    from tunemv3d_core.generation import LoadedCheckpoint
    from tunemv3d_core.io.access import is_loopback
    from tunemv3d_show.guard import Guard, guarded_server
    from tunemv3d_show.gui import Viewer
    from tunemv3d_show.session import Session

    loaded = LoadedCheckpoint.load(checkpoint, place, added)
    session = Session.of(loaded.model, loaded.spec, checkpoint)
    session.data = loaded.data
    token = "" if is_loopback(host) else secrets.token_hex(16)
    viewer = Viewer(session, guarded_server(host, port, Guard(host, token)), out)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{viewer.server.get_port()}/" + (f"?token={token}" if token else "")
    console.print(f"{address}  Ctrl-C ends it", soft_wrap=True, highlight=False)
    if token:
        messages.print("other machines reach this viewer: whoever has the address can use it", style="yellow")
    return viewer
