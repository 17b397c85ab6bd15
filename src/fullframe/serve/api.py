"""The HTTP interface: photos are answered at once, clips become jobs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from fullframe.io.calibration import parse_calibration
from fullframe.io.temporary_folder import temporary_folder
from fullframe.io.text import plural
from fullframe.recovery.outputs import VIDEO_OUTPUTS
from fullframe.recovery.photo import CameraOptions, Recoverer
from fullframe.recovery.video import clip_camera
from fullframe.serve.clip_jobs import ClipJob, ClipJobs, QueueFullError
from fullframe.serve.guard import Guard
from fullframe.serve.limits import Limits, busy, check, receive
from fullframe.serve.photo_engine import OUTPUTS, ClientGoneError, PhotoEngine, TimeLimitError
from fullframe.video.reader import VideoReader

CLIENT_CLOSED = 499
"""Status of answers that nobody receives, as in nginx."""
_CLIPS = (".mp4", ".mkv", ".avi")
_FILE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"description": "the token is missing or wrong"},
    404: {"description": "there is no such model, clip or file"},
    408: {"description": "the file arrived too slowly"},
    413: {"description": "too many bytes, pixels or seconds"},
    415: {"description": "not a file of this kind"},
    422: {"description": "a damaged file, or impossible options"},
    503: {"description": "the server is busy: try again after Retry-After seconds"},
}


class _Options(BaseModel):
    """What all uploads take. The camera is one of focal, fov, vertical_fov, intrinsics and camera; by default
    from EXIF, else the diagonal of the image."""

    model_config = ConfigDict(extra="forbid")

    focal: float | None = Field(None, description="focal length in px of the upright image")
    fov: float | None = Field(None, description="horizontal field of view in degrees")
    vertical_fov: float | None = Field(None, description="vertical field of view in degrees")
    intrinsics: str | None = Field(None, description="fx,fy,cx,cy in px", examples=["1200,1200,960,540"])
    calibration: str | None = Field(
        None,
        alias="camera",
        description="a calibration in JSON, with the distortion of the lens",
        examples=[
            '{"K": [[1200, 0, 960], [0, 1200, 540], [0, 0, 1]], "size": [1920, 1080], '
            '"distortion": [-0.2, 0.05, 0, 0, 0]}'
        ],
    )
    model: str | None = Field(None, description="the model that has to answer, see /health")

    def camera(self, recoverer: Recoverer) -> CameraOptions:
        """The camera, once the model is known to be ours."""
        if self.model is not None and self.model != recoverer.name:
            raise HTTPException(404, f"no model {self.model[:100]!r} here: this server has {recoverer.name}")
        try:
            numbers = (
                None if self.intrinsics is None else [float(part) for part in self.intrinsics.split(",")]
            )
            calibration = None if self.calibration is None else (parse_calibration(self.calibration),)
            return CameraOptions(self.focal, self.fov, numbers, self.vertical_fov, calibration)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error


class _PhotoOptions(_Options):
    output: str = Field("json", pattern=f"^({'|'.join(OUTPUTS)})$", description=" or ".join(OUTPUTS))


class _ClipOptions(_Options):
    save: str = Field("json", description=f"files, separated by commas: any of {', '.join(VIDEO_OUTPUTS)}")

    def kinds(self) -> tuple[str, ...]:
        kinds = tuple(dict.fromkeys(part.strip() for part in self.save.split(",") if part.strip()))
        if not kinds or not set(kinds) <= set(VIDEO_OUTPUTS):
            raise HTTPException(422, f"save takes any of {','.join(VIDEO_OUTPUTS)}; got {self.save[:100]!r}")
        return kinds


class Health(BaseModel):
    """That the server runs, and what it does."""

    status: str
    version: str
    model: str
    body: str
    photos: int = Field(description="photos that are being received or processed")
    clips: int = Field(description="clips that wait or are being processed")


class ClipStatus(BaseModel):
    """A clip on its way to its results."""

    id: str
    state: str = Field(description="waiting, running, done or failed")
    before: int = Field(description="clips that are processed before it")
    stage: str = Field(description="what is being done")
    done: int = Field(description="frames that are done in this stage")
    total: int | None = Field(description="all frames of this stage, if known")
    error: str = Field(description="why it failed")
    files: list[str] = Field(description="addresses of the results")

    @classmethod
    def of(cls, job: ClipJob) -> "ClipStatus":
        names = ("id", "state", "before", "stage", "done", "total", "error")
        files = [f"/clips/{job.id}/files/{name}" for name in job.files] if job.state == "done" else []
        return cls(**{name: getattr(job, name) for name in names}, files=files)


def create_app(
    recoverer: Recoverer, host: str = "127.0.0.1", token: str | None = None, limits: Limits | None = None
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        recoverer: the models, which all requests share.
        host: that the server listens on; without a token, requests under other names, and of other web pages,
            are refused.
        token: that every request has to have, /health excepted; None for none.
        limits: of what it takes on.
    """
    limits = limits or Limits()
    photos = 0
    engine: PhotoEngine
    jobs: ClipJobs

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal engine, jobs
        with temporary_folder("fullframe_serve_") as folder:
            engine, jobs = PhotoEngine(recoverer), ClipJobs(recoverer, folder, limits)
            yield
            await asyncio.to_thread(jobs.close)
            await asyncio.to_thread(engine.close)

    app = FastAPIOffline(
        redoc_url=None,
        title="fullframe",
        version=version("fullframe"),
        description="3D human bodies from photos and clips, in the camera of the full frame. The body of a "
        "POST is the file itself: `curl --data-binary @photo.jpg ADDRESS/photos`.",
        lifespan=lifespan,
    )
    app.add_middleware(Guard, host=host, token=token)

    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(ClientGoneError)
    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED)

    @app.get("/health", tags=["server"], summary="Whether the server runs, and what it does")
    async def health() -> Health:
        return Health(
            status="ok",
            version=version("fullframe"),
            model=recoverer.name,
            body=recoverer.body.name,
            photos=photos,
            clips=jobs.open,
        )

    @app.post(
        "/photos",
        tags=["photos"],
        summary="The people of a photo",
        openapi_extra=_FILE,
        responses={200: {"content": {kind: {} for kind in OUTPUTS.values()}}, **_ERRORS},
        response_class=Response,
    )
    async def photo(request: Request, options: Annotated[_PhotoOptions, Query()]) -> Response:
        """Recover the people of a photo: as JSON, as meshes (glb), or drawn over it (overlay, a JPEG)."""
        nonlocal photos
        camera = options.camera(recoverer)
        if photos >= limits.photos:
            raise busy(f"{plural(limits.photos, 'photo')} in progress")
        deadline = time.monotonic() + limits.photo_s
        photos += 1
        try:
            parts: list[bytes] = []
            await receive(request, limits.photo, deadline, parts.append)
            content = b"".join(parts)
            parts.clear()
            if await check(content, limits.photo) in _CLIPS:
                raise HTTPException(415, "this is a clip: POST it to /clips")
            result = await engine.recover(content, camera, options.output, deadline, request.is_disconnected)
        except TimeLimitError as error:
            raise busy(f"the photo was not done within {limits.photo_s:g} s") from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        finally:
            photos -= 1
        return Response(result, media_type=OUTPUTS[options.output])

    @app.post(
        "/clips",
        tags=["clips"],
        summary="Queue a clip",
        status_code=202,
        openapi_extra=_FILE,
        responses=_ERRORS,
    )
    async def clip(
        request: Request, response: Response, options: Annotated[_ClipOptions, Query()]
    ) -> ClipStatus:
        """Queue a clip. GET the address in Location for its progress and results, DELETE it to cancel."""
        camera, kinds = options.camera(recoverer), options.kinds()
        try:
            with jobs.receiving() as place:
                upload = place / "upload"
                with upload.open("wb") as file:
                    await receive(request, limits.clip, time.monotonic() + limits.upload_s, file.write)
                suffix = await check(upload, limits.clip)
                if suffix not in _CLIPS:
                    raise HTTPException(415, "this is a photo: POST it to /photos")
                upload = upload.rename(upload.with_suffix(suffix))
                await asyncio.to_thread(_check_camera, upload, camera)
                job = jobs.add(upload, kinds, camera)
        except QueueFullError as error:
            raise busy(f"{plural(limits.clips, 'clip')} in progress") from error
        response.headers["Location"] = f"/clips/{job.id}"
        return ClipStatus.of(job)

    def find(id: str) -> ClipJob:
        job = jobs.get(id)
        if job is None:
            raise HTTPException(404, "there is no such clip: it was deleted, or its time is over")
        return job

    @app.get("/clips/{id}", tags=["clips"], summary="How far a clip is", responses={404: _ERRORS[404]})
    async def progress(id: str) -> ClipStatus:
        """Its progress, and the addresses of its files once it is done."""
        return ClipStatus.of(find(id))

    @app.get(
        "/clips/{id}/files/{name}",
        tags=["clips"],
        summary="A result of a clip",
        responses={404: _ERRORS[404]},
        response_class=FileResponse,
    )
    async def download(id: str, name: str) -> FileResponse:
        """The file, under its name."""
        path = find(id).files.get(name)
        if path is None:
            raise HTTPException(404, f"there is no file {name[:100]!r} of this clip")
        return FileResponse(path, filename=name)

    @app.delete(
        "/clips/{id}",
        tags=["clips"],
        summary="Cancel or delete a clip",
        status_code=204,
        responses={404: _ERRORS[404]},
    )
    async def delete(id: str) -> None:
        """Cancel a clip, and delete everything of it."""
        find(id)
        jobs.delete(id)

    return app


def _check_camera(clip: Path, camera: CameraOptions) -> None:
    """Refuses a camera that cannot be that of a clip, before it waits for its turn."""
    try:
        with VideoReader(clip) as reader:
            clip_camera(reader, camera)
    except ValueError as error:
        raise HTTPException(422, str(error).replace(f"{clip}: ", "")) from error
