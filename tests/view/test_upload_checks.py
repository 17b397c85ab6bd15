import io

import av
import numpy as np
import pytest
from PIL import Image

from fullframe.view import upload_checks
from fullframe.view.upload_checks import MAX_SECONDS, UploadError, check_upload


def photo(kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def clip(kind: str, seconds: float = 1, rate: int = 5, codec: str = "libx264") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(round(seconds * rate)):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "tiff", "gif"])
def test_photos(kind):
    assert check_upload(photo(kind)) == f".{kind}"


@pytest.mark.parametrize(
    ("kind", "suffix"), [("mp4", ".mp4"), ("mov", ".mp4"), ("matroska", ".mkv"), ("avi", ".avi")]
)
def test_clips(kind, suffix):
    assert check_upload(clip(kind)) == suffix


def sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        for packet in (*stream.encode(frame), *stream.encode()):
            file.mux(packet)
    return buffer.getvalue()


BAD = {
    "nothing": (b"", "empty"),
    "text": (b"hello, world", "not a photo or clip"),
    "a web page": (b"<html><script>alert(1)</script></html>", "not a photo or clip"),
    "a picture that can hold scripts": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photo or clip"),
    "a playlist": (
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "not a photo or clip",
    ),
    "a list of files": (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a photo or clip"),
    "a part of a photo": (photo("png")[:20], "not a photo or clip"),
    "a part of a clip": (clip("mp4")[:60], "damaged"),
    "a header alone": (b"\0\0\0\x18ftypmp42" + bytes(200), "damaged"),
    "sound": (sound(), "only sound"),
    "an unsupported image format": (b"\0\0\0\x18ftypheic" + bytes(200), "not a photo or clip"),
    "too long": (clip("matroska", MAX_SECONDS + 2, rate=1), r"32 s long"),
    "too many pixels": (photo("png", (10_000, 6_000), "1"), "60 megapixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name):
    content, reason = BAD[name]
    with pytest.raises(UploadError, match=reason):
        check_upload(content)


def test_too_many_bytes(monkeypatch):
    monkeypatch.setattr(upload_checks, "MAX_BYTES", 1000)
    with pytest.raises(UploadError, match="MB"):
        check_upload(photo("bmp"))
