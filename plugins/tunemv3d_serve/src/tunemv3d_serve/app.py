"""The HTTP API."""

from importlib.resources import files
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException as HTTPError

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_serve import __version__
from tunemv3d_serve.guard import Guard, check_token, refused
from tunemv3d_serve.jobs import Job, JobQueue, QueueFullError
from tunemv3d_serve.order import About, JobReport, Order
from tunemv3d_serve.sampler import ObjectSampler

TYPES = {".glb": "model/gltf-binary", ".json": "application/json", ".zip": "application/zip"}


def create_app(sampler: ObjectSampler, queue: JobQueue, host: str = "127.0.0.1", token: str = "") -> FastAPI:
    """Build the application.

    Args:
        sampler: says what is served and what can be ordered.
        queue: works the orders off.
        host: that the server listens on.
        token: that requests must carry; "" asks for none.

    Raises:
        TuneMV3DError: other machines would reach it without a token.
    """
    # FastAPI's own page of the API loads scripts from elsewhere.
    app = FastAPI(title="TuneMV3D", version=__version__, docs_url=None, redoc_url=None)
    # The guard is built with the first request; its refusal should come now.
    check_token(host, token)
    app.add_middleware(Guard, host=host, token=token)
    _answer_errors(app)
    _add_jobs(app, sampler, queue)

    @app.get("/about")
    def about() -> About:
        """Tell the checkpoint, the id of its spec, its own options, and versions."""
        return sampler.about()

    return app


def add_plain_page(app: FastAPI) -> None:
    """Put the page that needs nothing but a browser at the root."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> str:
        return (files("tunemv3d_serve") / "static" / "page.html").read_text(encoding="utf-8")


def _add_jobs(app: FastAPI, sampler: ObjectSampler, queue: JobQueue) -> None:
    def find(job_id: str) -> Job:
        try:
            return queue.find(job_id)
        except KeyError:
            raise HTTPException(404, "there is no such job, or its results were removed to make room") from None

    Found = Annotated[Job, Depends(find)]

    @app.post("/jobs", status_code=201)
    def add(order: Order) -> JobReport:
        """Order an object."""
        return queue.report(queue.add(order, sampler.options(order).steps))

    @app.get("/jobs")
    def jobs() -> list[JobReport]:
        """List the jobs that are known, oldest first."""
        return [queue.report(job) for job in queue.all()]

    @app.get("/jobs/{job_id}")
    def job(job: Found) -> JobReport:
        """Tell how a job stands."""
        return queue.report(job)

    @app.delete("/jobs/{job_id}")
    def end(job: Found) -> JobReport:
        """Cancel a job that waits or runs; remove one that has ended, with its files."""
        return queue.report(queue.end(job.id))

    @app.get("/jobs/{job_id}/views.png")
    def views(job: Found) -> Response:
        """Return the views in a row, as they are now."""
        if not job.picture:
            raise HTTPException(404, "there is no picture yet: ask again after the first step")
        return Response(job.picture, media_type="image/png", headers={"Cache-Control": "no-store"})

    @app.get("/jobs/{job_id}/{name}")
    def file(job: Found, name: str) -> Response:
        """Return object.glb, object.zip (all files, as `tunemv3d sample` writes them) or manifest.json."""
        path = job.files.get(name)
        if path is None or not path.is_file():
            raise HTTPException(404, "this job has no such file, or not yet: its 'files' lists what there is")
        return FileResponse(path, media_type=TYPES[path.suffix], filename=f"{job.id}-{name}")


def _answer_errors(app: FastAPI) -> None:
    """Make every error one sentence in JSON."""

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        return refused(422, "; ".join(_told(dict(entry)) for entry in error.errors()[:5]))

    @app.exception_handler(QueueFullError)
    def full(request: Request, error: QueueFullError) -> Response:
        return refused(429, str(error))

    @app.exception_handler(TuneMV3DError)
    def unfit(request: Request, error: TuneMV3DError) -> Response:
        return refused(422, str(error))

    @app.exception_handler(HTTPError)
    def http(request: Request, error: HTTPError) -> Response:
        return refused(error.status_code, str(error.detail))


def _told(entry: dict[str, object]) -> str:
    """One of pydantic's errors, without what was given, which may be long."""
    place = entry["loc"]
    assert isinstance(place, tuple)
    names = ".".join(str(part)[:40] for part in place[1:] if isinstance(part, str))
    return f"{names or 'the body'}: {entry['msg']}"
