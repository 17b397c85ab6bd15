"""Photos of many clients on one set of models."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from fullframe.recovery.outputs import photo_files, write_photo
from fullframe.recovery.photo import CameraOptions, Detected, Recoverer
from fullframe.results.people import People

OUTPUTS = {"json": "application/json", "glb": "model/gltf-binary", "overlay": "image/jpeg"}
"""What a photo can be turned into, with the media types."""
_CHECK_S = 0.2
T = TypeVar("T")


class ClientGoneError(Exception):
    """The client has closed the connection: nobody waits for the answer."""


class TimeLimitError(Exception):
    """The answer would come too late."""


class PhotoEngine:
    """Recovers the people of photos as `Recoverer.stream` does: detections in as many threads as torch has,
    bodies in one more, each thread with one core.

    What a client no longer waits for is dropped before its next step.
    """

    def __init__(self, recoverer: Recoverer) -> None:
        self._recoverer = recoverer
        self._threads = torch.get_num_threads()
        self._detection, self._bodies = (
            ThreadPoolExecutor(workers, name, torch.set_num_threads, (1,))
            for workers, name in ((self._threads, "detection"), (1, "bodies"))
        )
        # Photos whose pixels are in memory.
        self._places = asyncio.Semaphore(self._threads + 2)

    def close(self) -> None:
        """End the threads; what has not begun is cancelled."""
        for pool in (self._detection, self._bodies):
            pool.shutdown(wait=True, cancel_futures=True)

    async def recover(
        self,
        content: bytes,
        camera: CameraOptions,
        output: str,
        deadline: float,
        gone: Callable[[], Awaitable[bool]],
    ) -> bytes:
        """The people of a photo in one of OUTPUTS.

        Args:
            content: of the file.
            camera: the user's.
            output: key of OUTPUTS.
            deadline: by time.monotonic().
            gone: whether the client has left.

        Raises:
            ClientGoneError, TimeLimitError: the client does not wait any longer.
            ValueError: if the photo cannot be read, or the camera is impossible.
        """

        async def run(pool: ThreadPoolExecutor, step: Callable[[], T]) -> T:
            future = pool.submit(step)
            try:
                return await _while_wanted(asyncio.wrap_future(future), deadline, gone)
            finally:
                future.cancel()  # if it has not begun

        place = asyncio.ensure_future(self._places.acquire())
        try:
            await _while_wanted(place, deadline, gone)
            detected = await run(self._detection, partial(self._recoverer.detect, content, camera))
            people = await run(self._bodies, partial(self._recoverer.pose, detected))
            return await run(self._detection, partial(self._encode, people, detected, output))
        finally:
            if not place.cancel() and not place.cancelled():
                self._places.release()

    def _encode(self, people: People, detected: Detected, output: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="fullframe_") as folder:
            files = photo_files(Path(folder) / "photo", [output])
            write_photo(people, self._recoverer.body, detected.photo.pixels, files)
            return files[output].read_bytes()


async def _while_wanted(
    waiting: "asyncio.Future[T]", deadline: float, gone: Callable[[], Awaitable[bool]]
) -> T:
    while not (await asyncio.wait([waiting], timeout=_CHECK_S))[0]:
        if await gone():
            raise ClientGoneError
        if time.monotonic() > deadline:
            raise TimeLimitError
    return waiting.result()
