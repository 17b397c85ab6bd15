"""Generators of odd, damaged and hostile files, for the table in test_hostile_inputs.py."""

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from fullframe.geometry.camera import Camera
from fullframe.results.clip import Clip

Content = bytes | Callable[[Path], object]
"""What a file holds, or what makes it."""

SIZE = (64, 48)
BOX = [16, 12, 16, 30]
KEYPOINTS = [value for i in range(17) for value in (16 + i % 4 * 3, 14 + i * 1.6, 2)]


def _pixels(size: tuple[int, int]) -> np.ndarray:
    """A red person, as the detector of video_fixtures finds them, on a dark ground."""
    width, height = size
    pixels = np.full((height, width, 3), (20, 40, 60), np.uint8)
    pixels[height // 4 : height - height // 8, width // 4 : width // 4 + max(width // 4, 1)] = (220, 30, 40)
    return pixels


def photo(kind: str = "PNG", size: tuple[int, int] = SIZE, mode: str = "RGB", **options: Any) -> bytes:
    """A photo in one of Pillow's formats."""
    stream = io.BytesIO()
    Image.fromarray(_pixels(size)).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def grey(values: np.ndarray, kind: str = "PNG") -> bytes:
    """An image of one channel of any type."""
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind)
    return stream.getvalue()


def top_down_bmp() -> bytes:
    """A BMP whose rows are from the top, as its negative height says."""
    content = bytearray(photo("BMP"))
    content[22:26] = struct.pack("<i", -SIZE[1])
    return bytes(content)


def exif(orientation: int | None = None, **tags: Any) -> Image.Exif:
    """EXIF tags by short names."""
    found = Image.Exif()
    if orientation is not None:
        found[0x0112] = orientation
    numbers = {"equivalent": 0xA405, "mm": 0x920A, "width": 0xA002, "height": 0xA003}
    for name, value in tags.items():
        found.get_ifd(0x8769)[numbers[name]] = value
    return found


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size, and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(9)))
    return b"\x89PNG\r\n\x1a\n" + parts + png_chunk(b"IEND", b"")


def png_with(kind: bytes, unpacked: int) -> bytes:
    """A PNG with a compressed chunk of text or colours that unpacks to so many bytes."""
    good = photo()
    return good[:33] + png_chunk(kind, b"x\0\0" + zlib.compress(bytes(unpacked), 9)) + good[33:]


def video(
    frames: int = 3,
    size: tuple[int, int] = SIZE,
    kind: str | None = None,
    times: tuple[int, ...] = (),
    sound_alone: bool = False,
    change: Callable[[bytearray], bytes | bytearray] = lambda content: content,
) -> Content:
    """A video of the person.

    Args:
        kind: the container; by the suffix if None.
        times: of the frames in ms.
        change: of the finished file.
    """

    def write(path: Path) -> None:
        with av.open(str(path), "w", format=kind) as out:
            stream: Any = out.add_stream(
                "aac" if sound_alone else "libx264", rate=48_000 if sound_alone else 10
            )
            if sound_alone:
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound.sample_rate, sound.pts = 48_000, 0
                out.mux(stream.encode(sound))
            else:
                stream.width, stream.height = size
                stream.pix_fmt = "yuv444p" if size[0] % 2 else "yuv420p"
                for number in range(frames):
                    frame = av.VideoFrame.from_ndarray(_pixels(size), "rgb24")
                    if times:
                        frame.pts, frame.time_base = times[number], Fraction(1, 1000)
                    out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        path.write_bytes(change(bytearray(path.read_bytes())))

    return write


def coco(image: dict[str, Any] | None = None, drop: str = "", **changes: Any) -> bytes:
    """COCO's annotations of a.png with changes.

    Args:
        image: other values of the image.
        drop: a key that the annotation lacks.
        changes: images, annotations or categories as a whole, or other values of the annotation.
    """
    whole = {key: changes.pop(key) for key in ("images", "annotations", "categories") if key in changes}
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX, "keypoints": KEYPOINTS, **changes}
    person.pop(drop, None)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": SIZE[0], "height": SIZE[1], **(image or {})}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person"}],
    }
    return json.dumps(content | whole).encode()


def by_frame(**person: Any) -> bytes:
    """People of a video's three frames as JSON by frame."""
    return json.dumps({frame: [{"bbox": BOX, **person}] for frame in range(3)}).encode()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def link(target: str) -> Content:
    return lambda path: os.symlink(target, path)


def xml_bomb() -> bytes:
    """Entities that unpack to 10^10 letters."""
    entities = "".join(f'<!ENTITY a{n} "{(f"&a{n - 1};" if n else "x") * 10}">' for n in range(10))
    return f'<?xml version="1.0"?><!DOCTYPE l [{entities}]><annotations>&a9;</annotations>'.encode()


def cvat(
    attributes: str = 'xtl="16" ytl="12" xbr="32" ybr="40"', size: str = 'width="64" height="48"'
) -> bytes:
    """CVAT's XML of a.png with one box."""
    box = f'<box label="person" {attributes}/>'
    return f'<annotations><image id="0" name="a.png" {size}>{box}</image></annotations>'.encode()


def glb(tree: Any, cut: int = 0) -> bytes:
    """A GLB of this tree, or of these bytes of JSON, without the last `cut` bytes."""
    text = tree if isinstance(tree, bytes) else json.dumps({"asset": {"version": "2.0"}, **tree}).encode()
    text += b" " * (-len(text) % 4)
    whole = b"glTF" + struct.pack("<III", 2, 20 + len(text), len(text)) + b"JSON" + text
    return whole[: len(whole) - cut]


def clip(header: dict[str, Any] | None = None, **arrays: Any) -> Content:
    """A clip of one person in two frames, with other values in its header or arrays."""

    def write(path: Path) -> None:
        rows = 2
        Clip(
            times=np.arange(rows) / 25,
            frames=np.arange(rows),
            track_ids=np.zeros(rows, np.int64),
            detected=np.ones(rows, bool),
            boxes=np.tile([16.0, 12, 32, 42], (rows, 1)),
            scores=np.ones(rows),
            keypoints=np.ones((rows, 17, 3)),
            pose=np.tile(np.eye(3), (rows, 24, 1, 1)),
            betas=np.zeros((rows, 11)),
            translation=np.tile([0.0, 0, 3], (rows, 1)),
            camera=Camera.from_diagonal(SIZE),
            body="open",
            model="",
        ).save(path)
        with np.load(path) as file:
            content = dict(file)
        values = json.loads(str(content.pop("header"))) | (header or {})
        np.savez(path, header=json.dumps(values), **{**content, **arrays})

    return write
