"""The limits of the service, and how requests beyond them are refused."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import HTTPException, Request

from fullframe.view.upload_checks import TooLargeError, UnknownFormatError, UploadLimits, check_upload


@dataclass(frozen=True)
class Limits:
    """The limits of the service.

    Attributes:
        photo: of each photo that is sent.
        clip: of each clip that is sent.
        photos: photos that are received and processed at a time, each in memory.
        clips: clips that wait or are processed at a time, each on the disk.
        kept: finished clips whose results are kept; then the oldest are deleted.
        photo_s: seconds from the first byte of a photo to its answer.
        upload_s: seconds in which a clip has to arrive.
        clip_s: seconds that the processing of a clip may take.
        expiry_s: seconds after which the results of a clip are deleted.
    """

    photo: UploadLimits = field(default_factory=lambda: UploadLimits(bytes=50_000_000))
    clip: UploadLimits = field(default_factory=lambda: UploadLimits(seconds=60))
    photos: int = 32
    clips: int = 8
    kept: int = 32
    photo_s: float = 60
    upload_s: float = 300
    clip_s: float = 1800
    expiry_s: float = 3600


async def receive(
    request: Request, limits: UploadLimits, deadline: float, write: Callable[[bytes], object]
) -> None:
    """Write the body of a request piece by piece, no more than may be.

    Args:
        deadline: of `time.monotonic`.

    Raises:
        HTTPException: 408, 413 or 415.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise HTTPException(
            415, "send the file itself as the body, not a form: curl --data-binary @photo.jpg"
        )
    announced = request.headers.get("content-length", "0")
    received = int(announced) if announced.isdecimal() else 0
    chunks = request.stream()
    total = 0
    while True:
        if max(received, total) > limits.bytes:
            size = f"{max(received, total) / 1e6:.0f} MB" if received else "more"
            raise HTTPException(413, f"the file has {size}; the limit is {limits.bytes / 1e6:.0f} MB")
        try:
            chunk = await asyncio.wait_for(anext(chunks), deadline - time.monotonic())
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise HTTPException(408, "the file arrived too slowly") from error
        total += len(chunk)
        write(chunk)


async def check(source: bytes | Path, limits: UploadLimits) -> str:
    """The suffix of an upload by its content, see `view.upload_checks.check_upload`.

    Raises:
        HTTPException: 413, 415 or 422.
    """
    try:
        return await asyncio.to_thread(check_upload, source, limits)
    except TooLargeError as error:
        raise HTTPException(413, str(error)) from error
    except UnknownFormatError as error:
        raise HTTPException(415, str(error)) from error
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


def busy(why: str) -> HTTPException:
    """The answer to what is too much now: when to try again."""
    return HTTPException(503, f"{why}: try again later", headers={"Retry-After": "5"})
