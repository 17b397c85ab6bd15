"""Pipes, folders, devices and loops of links where a file is expected: refused by name, never waited for."""

import os
from pathlib import Path

import pytest

from fullframe.body.files import read_body
from fullframe.data.formats.paths import image_size
from fullframe.data.formats.trc import read_trc
from fullframe.export.character import read_character, read_names
from fullframe.io.calibration import read_calibration
from fullframe.io.image import read_photo
from fullframe.io.npz import read_npz, require_regular_file
from fullframe.models import load_model
from fullframe.models.released_cliff import read_official
from fullframe.results.clip import Clip
from fullframe.results.people import People
from fullframe.train.config import read_config
from fullframe.video.reader import VideoReader

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs pipes and links")

READERS = [
    (read_photo, "a.jpg"),
    (image_size, "a.jpg"),
    (VideoReader, "a.mp4"),
    (read_npz, "a.npz"),
    (People.load, "a.npz"),
    (Clip.load, "a.npz"),
    (read_body, "SMPL_NEUTRAL.npz"),
    (read_body, "SMPL_NEUTRAL.pkl"),
    (read_config, "a.toml"),
    (read_calibration, "a.toml"),
    (read_trc, "a.trc"),
    (load_model, "a.safetensors"),
    (read_official, "a.pt"),
    (read_character, "a.glb"),
    (read_names, "a.json"),
]
KINDS = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "loop": lambda path: os.symlink(path, path),
    "device": lambda path: os.symlink("/dev/zero", path),
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read, name", READERS)
def test_refused_by_name(tmp_path: Path, read, name: str, kind: str) -> None:
    path = tmp_path / name
    KINDS[kind](path)
    with pytest.raises((ValueError, OSError), match=str(path)):
        read(path)


@pytest.mark.parametrize(
    "kind, message",
    [
        ("pipe", "a pipe or device"),
        ("folder", "a folder"),
        ("device", "a pipe or device"),
        ("loop", "form a loop"),
    ],
)
def test_the_reason(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "a"
    KINDS[kind](path)
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        require_regular_file(path)
