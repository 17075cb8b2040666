"""The command ``tunemv3d serve``: a checkpoint behind HTTP."""

import os
import secrets
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from tunemv3d_core.errors import TuneMV3DError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tunemv3d_serve.jobs import JobQueue
    from tunemv3d_serve.sampler import ObjectSampler


def serve(
    checkpoint: CheckpointArgument,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines connect, with the token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="To listen on.")] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TUNEMV3D_TOKEN",
            help="What requests must carry; default: none where only this machine connects, else one that is printed.",
            show_default=False,
        ),
    ] = None,
    waiting: Annotated[int, typer.Option(min=1, max=1000, help="Jobs that may wait; more are refused.")] = 16,
    keep: Annotated[int, typer.Option(min=1, max=10000, help="Results that are kept; older ones are removed.")] = 20,
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
) -> None:
    """Take orders over HTTP, one object at a time, and show the views while they appear.

    Results lie in a temporary folder, which goes when the server ends. There is a page at the root.
    """
    from tunemv3d_core.io.access import is_loopback
    from tunemv3d_serve.guard import check_token

    if token is None:
        token = "" if is_loopback(host) else secrets.token_hex(16)
    check_token(host, token)
    _check_port(host, port)
    place = read_placement(device, dtype, offload)
    # Heavy: torch, and whatever the checkpoint's components need.
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.generation import LoadedCheckpoint
    from tunemv3d_serve.jobs import JobQueue
    from tunemv3d_serve.sampler import ObjectSampler

    added = Additions.of(base, lora, embedding)
    loaded = LoadedCheckpoint.load(checkpoint, place, added)
    # Clients are told no folder of this machine.
    sampler = ObjectSampler.of(replace(loaded, name=Path(checkpoint).name), added)
    with tempfile.TemporaryDirectory(prefix="tunemv3d-serve-", ignore_cleanup_errors=True) as folder:
        # gradio's copies of results go with the others.
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "page")
        queue = JobQueue(sampler, Path(folder), waiting, keep)
        try:
            listen(with_page(sampler, queue, host, token), host, port, token)
        finally:
            queue.close()


def with_page(sampler: "ObjectSampler", queue: "JobQueue", host: str, token: str) -> "FastAPI":
    """Build the application with gradio's page where gradio is installed, else with the plain one."""
    from tunemv3d_serve.app import add_plain_page, create_app

    app = create_app(sampler, queue, host, token)
    if find_spec("gradio") is None:
        add_plain_page(app)
        return app
    from tunemv3d_serve.page import add_page

    return add_page(app, sampler, queue)


def listen(app: "FastAPI", host: str, port: int, token: str) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import uvicorn

    from tunemv3d_core.io.access import is_loopback

    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    console.print(f"{address}  Ctrl-C ends it", soft_wrap=True, highlight=False)
    if not is_loopback(host):
        messages.print("other machines reach this server: whoever has the token can use it", style="yellow")
    # Without the log of requests: it would hold the token.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=200,
        timeout_graceful_shutdown=2,
    )
    # Unlike uvicorn.run, it passes Ctrl-C on, so that the command ends as others do.
    uvicorn.Server(config).run()


def _check_port(host: str, port: int) -> None:
    """Find out before the model is loaded whether the server can listen there.

    Raises:
        TuneMV3DError: it cannot.
    """
    import socket

    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except (OSError, OverflowError) as error:
        raise TuneMV3DError(f"--host {host} --port {port}: cannot listen there: {error}; take another port") from None
