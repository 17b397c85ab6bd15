from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fullframe.body import load_body
from fullframe.models import create_model
from fullframe.recovery.photo import Recoverer

WIDTH, HEIGHT = 96, 64


def picture(index: int, size: tuple[int, int] = (WIDTH, HEIGHT), people: int = 1) -> NDArray[np.uint8]:
    """Red people (upright rectangles) that walk to the right over a dark ground, 1 % of the width a frame."""
    width, height = size
    image = np.full((height, width, 3), (20, 40, 60), np.uint8)
    image[: height // 8, : width // 8] = (240, 240, 240)  # top left
    for person in range(people):
        x = int(width * (0.2 + 0.5 * person / max(people, 1) + 0.01 * (index % 20)))
        image[height // 4 : height - height // 8, x : x + width // 8] = (220, 30, 40)
    return image


Maker = Callable[..., Path]


@pytest.fixture
def make_video(tmp_path: Path) -> Maker:
    """Writes a video with FFmpeg's own means, so that the writer is not tested by itself."""

    def make(
        name: str = "walk.mp4",
        frames: int = 12,
        size: tuple[int, int] = (WIDTH, HEIGHT),
        fps: float = 25,
        times: Sequence[float] | None = None,
        sound: str | None = None,
        codec: str = "libx264",
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
        aspect: Fraction | None = None,
        images: Callable[[int], NDArray[np.uint8]] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=container_options or {}) as out:
            stream: Any = out.add_stream(
                codec, rate=Fraction(fps).limit_denominator(1001), options=options or {}
            )
            stream.width, stream.height = size
            stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(
                codec, "yuv444p" if size[0] % 2 else "yuv420p"
            )
            if path.suffix != ".avi":  # which has no times, but frames that follow one another
                stream.codec_context.time_base = Fraction(1, 12_800)
            if aspect:
                stream.codec_context.sample_aspect_ratio = aspect
            audio: Any = out.add_stream(sound, rate=48_000) if sound else None
            if audio:
                audio.codec_context.layout = "stereo"
            for index in range(frames):
                frame = av.VideoFrame.from_ndarray(images(index) if images else picture(index, size))
                time = times[index] if times else index / fps
                frame.pts, frame.time_base = round(time * 12_800), Fraction(1, 12_800)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
            if audio:
                seconds = frames / fps
                wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(48_000 * seconds)) / 48_000)
                format_ = audio.codec_context.format.name
                scale, dtype = (32_767, np.int16) if format_.startswith("s16") else (1.0, np.float32)
                samples = np.stack((wave, wave)) * scale
                packed = samples.T.reshape(1, -1) if not format_.endswith("p") else samples
                step = 1024
                for start in range(0, len(wave), step):
                    part = (
                        packed[:, 2 * start : 2 * (start + step)]
                        if len(packed) == 1
                        else packed[:, start : start + step]
                    )
                    block = av.AudioFrame.from_ndarray(
                        np.ascontiguousarray(part.astype(dtype)), format_, "stereo"
                    )
                    block.sample_rate, block.pts, block.time_base = 48_000, start, Fraction(1, 48_000)
                    out.mux(audio.encode(block))
                out.mux(audio.encode(None))
        return path

    return make


class RedBoxes:
    """A detector of red rectangles."""

    name = "red boxes"

    def __init__(self) -> None:
        self.calls = 0

    def boxes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.calls += 1
        red = ((image[..., 0] > 120) & (image[..., 1] < 110)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(red)
        found = stats[1:][stats[1:, 4] > 0.01 * red.size]
        boxes = np.concatenate((found[:, :2], found[:, :2] + found[:, 2:4]), axis=1).astype(np.float32)
        return boxes.reshape(-1, 4), np.full(len(boxes), 0.9, np.float32)

    def keypoints(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError("a network alone needs no keypoints")


@pytest.fixture(scope="session")
def body() -> Any:
    return load_body(num_betas=11)


@pytest.fixture
def recoverer(body: Any) -> Recoverer:
    """As `Recoverer` with a tiny network of random weights, which finds red rectangles."""
    torch.manual_seed(0)
    network = create_model("cliff", encoder="resnet18", crop=(64, 64), num_betas=11).eval()
    return SimpleNamespace(  # type: ignore[return-value]
        body=body, detector=RedBoxes(), network=network, card=None, fitter=None, name="tiny", height=None
    )
