"""The page made with gradio: the extra ``page``."""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
from fastapi import FastAPI
from pydantic import ValidationError

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_serve.jobs import Job, JobQueue
from tunemv3d_serve.order import MAX_LETTERS, About, Order
from tunemv3d_serve.sampler import MESH, ObjectSampler

SECONDS = 0.5
"""Between two looks at a job."""

VIEWER_SECONDS = 4
"""That the browser gets to load what shows a mesh."""


def add_page(app: FastAPI, sampler: ObjectSampler, queue: JobQueue) -> FastAPI:
    """Put the page at the application's root."""
    # The system's letters: the default ones come from another server.
    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(primary_hue="teal", font=fonts, font_mono=["ui-monospace", "monospace"])
    # What the theme writes in too pale a grey, or in white on too light a colour, to be read by everybody.
    grey, teal = "*neutral_600", "*primary_700"
    theme = theme.set(body_text_color_subdued=grey, block_info_text_color=grey, input_placeholder_color=grey)
    theme = theme.set(button_primary_background_fill=teal, button_primary_background_fill_hover="*primary_800")
    page = build_page(sampler, queue)
    mounted: FastAPI = gr.mount_gradio_app(app, page, path="/", theme=theme, footer_links=[], show_error=True)
    return mounted


def build_page(sampler: ObjectSampler, queue: JobQueue) -> gr.Blocks:
    """Build the form, the views while they appear, and the mesh."""
    about = sampler.about()
    with gr.Blocks(title="TuneMV3D", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(f"# TuneMV3D\n{about.checkpoint}, spec `{about.spec_id[:12]}`")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                inputs = _inputs(about)
                with gr.Row():
                    start = gr.Button("Sample", variant="primary")
                    stop = gr.Button("Stop")
            with gr.Column(scale=2):
                message = gr.Markdown("Say what to make, and press Sample.")
                views = gr.Image(
                    label="Views",
                    show_label=False,
                    height=240,
                    type="pil",
                    format="png",
                    interactive=False,
                    buttons=["download"],
                )
                mesh = gr.Model3D(label="Mesh", height=420, interactive=False, visible=about.meshes)
        current = gr.State("")

        def follow(*given: Any) -> Iterator[tuple[Any, ...]]:
            yield from _follow(sampler, queue, given)

        # The queue of jobs orders them; gradio's should hold none back.
        start.click(follow, inputs, [message, views, mesh, current], concurrency_limit=None, api_name=False)
        stop.click(lambda name: _stop(queue, name), [current], None, concurrency_limit=None, api_name=False)
    return page


def _inputs(about: About) -> list[Any]:
    """Fields of an order, in its order."""
    first = about.consistency[0] if isinstance(about.consistency, list) else about.consistency
    return [
        gr.Textbox("a red office chair", label="Prompt", max_length=MAX_LETTERS),
        gr.Textbox("", label="Away from", max_length=MAX_LETTERS),
        gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**32 - 1),
        gr.Slider(1, 200, about.steps, step=1, label="Steps"),
        gr.Slider(0, 20, about.guidance, step=0.5, label="Guidance"),
        gr.Slider(0, 3, first, step=0.1, label="K", info="0 is the plain 2D model, 1 the tuned one"),
        gr.Slider(1, 32, about.views, step=1, label="Views"),
        gr.Checkbox(about.meshes, label="Mesh", visible=about.meshes),
    ]


def _follow(sampler: ObjectSampler, queue: JobQueue, given: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Order an object and show how it comes along: message, views, mesh, the job's id."""
    try:
        order = Order.model_validate(dict(zip(Order.model_fields, given, strict=True)))
        job = queue.add(order, sampler.options(order).steps)
    except ValidationError as error:
        first = error.errors()[0]
        raise gr.Error(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except TuneMV3DError as error:
        raise gr.Error(str(error)) from None
    yield "Ordered.", None, None, job.id
    shown = b""
    while not job.ended:
        time.sleep(SECONDS)
        changed = job.picture if job.picture != shown else b""
        shown = job.picture
        yield _told(queue, job), _picture(changed), gr.skip(), job.id
    mesh = job.files.get(MESH)
    yield _told(queue, job), _picture(job.picture), None if mesh is None else str(mesh), job.id
    if mesh is not None:
        # gradio 6.31 drops a mesh whose viewer is still loading when the answer ends.
        time.sleep(VIEWER_SECONDS)


def _told(queue: JobQueue, job: Job) -> str:
    """How a job stands, in words."""
    report = queue.report(job)
    making = f"Step {job.step} of {job.steps}." if job.step < job.steps else "The shape is made."
    words = {"waiting": f"{report.before} before it.", "running": making, "cancelled": "Stopped."}
    links = "".join(f" [{file.rpartition('/')[2]}]({file})" for file in report.files)
    words |= {"failed": f"**{job.error}**", "done": f"Done:{links}"}
    return words[job.state] + "".join(f"\n\n*{note}*" for note in job.notes)


def _picture(data: bytes) -> Any:
    """A PNG as gradio takes it; nothing changes where there is none."""
    return open_picture(data) if data else gr.skip()


def _stop(queue: JobQueue, name: str) -> None:
    """Cancel a job that has not ended; a finished one stays."""
    try:
        if not queue.find(name).ended:
            queue.end(name)
    except KeyError:
        pass
