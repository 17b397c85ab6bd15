import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from commands import fullframe
from PIL import Image

from fullframe.recovery.inputs import find_inputs
from fullframe.recovery.outputs import PHOTO_OUTPUTS, output_names
from fullframe.results.people import People

MAIN = [sys.executable, "-c", "from fullframe.cli.main import main; main()"]


@pytest.fixture
def empty_photo(tmp_path: Path) -> Path:
    path = tmp_path / "empty.png"
    Image.new("RGB", (320, 240), (90, 140, 200)).save(path)
    return path


@pytest.fixture(scope="module")
def small_photo(photo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "small.jpg"
    with Image.open(photo_path) as image:
        image.resize((525, 430)).save(path)
    return path


def test_a_photo_gives_every_output(
    photo_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--save", ",".join(PHOTO_OUTPUTS))
    assert fullframe("run", photo_path, "-o", tmp_path, *options) == 0
    assert "3 people" in capsys.readouterr().err
    people = People.load(tmp_path / "three_people.npz")
    assert len(people) == 3 and people.camera.source == "diagonal"
    assert people.model == "cliff-lite+keypoint-fit"
    # Every body covers its own box, as far as it is in the picture.
    points = people.vertices[..., :2] / people.vertices[..., 2:]
    points = points * people.camera.focal + people.camera.principal_point
    low, high = (np.clip(p, 0, people.camera.size) for p in (points.min(1), points.max(1)))
    shared = np.minimum(high, people.boxes[:, 2:]) - np.maximum(low, people.boxes[:, :2])
    areas = [
        np.prod(extent, axis=1) for extent in (shared, high - low, people.boxes[:, 2:] - people.boxes[:, :2])
    ]
    assert (areas[0] / (areas[1] + areas[2] - areas[0]) > 0.6).all()
    assert (people.translation[:, 2] > 1).all()
    for kind in ("overlay", "sheet"):
        picture = cv2.imread(str(tmp_path / f"three_people_{kind}.jpg"))
        assert picture is not None and picture.shape[1] >= 861
    assert len(json.loads((tmp_path / "three_people.json").read_text())["people"]) == 3
    assert len(trimesh.load_scene(tmp_path / "three_people.glb").geometry) == 3
    assert len(list(tmp_path.glob("three_people_?.bvh"))) == 3
    assert len(list(tmp_path.iterdir())) == 10


def test_a_rig(small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fullframe("run", small_photo, "-o", tmp_path, "--save", "glb,bvh", "--rig", "mixamo") == 0
    assert "small.glb, small_0.bvh, small_1.bvh" in capsys.readouterr().err
    assert b"mixamorig:LeftForeArm" in (tmp_path / "small.glb").read_bytes()
    assert "ROOT mixamorig:Hips" in (tmp_path / "small_0.bvh").read_text()
    assert fullframe("run", small_photo, "-o", tmp_path, "--save", "glb", "--rig", "vrm") == 0
    assert "small_0.vrm, small_0.vrma, small_1.vrm" in capsys.readouterr().err


def test_a_bad_photo_does_not_stop_the_others(
    small_photo: Path, empty_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a_text.jpg").write_text("no photo")
    (folder / "b_zero.jpg").touch()
    shutil.copy(empty_photo, folder / "c.png")
    shutil.copy(small_photo, folder / "d.jpg")
    (folder / "e_notes.txt").write_text("left out")
    (folder / "f_raw.nef").write_text("left out")
    (folder / "g.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    shutil.copy(small_photo, folder / "z.jfif")
    assert fullframe("run", folder, tmp_path / "missing.jpg", "-o", tmp_path / "out", "--save", "npz") == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["c.npz", "d.npz", "z.npz"]
    said = capsys.readouterr().err
    assert "4 of 7 photos failed" in said
    bad = (
        "a_text.jpg: not an image",
        "b_zero.jpg: the file is empty",
        "g.heic: ",
        "missing.jpg: no such file",
    )
    for reason in bad:
        assert said.count(reason) == 2  # when it happened, and at the end
    assert said.endswith(
        "2 files left out: e_notes.txt (not a photo or video), "
        "f_raw.nef (a raw file of a camera: convert it to JPEG or TIFF)\n"
    )


def test_a_name_that_is_not_utf8(small_photo: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    try:
        shutil.copy(small_photo, odd)
    except OSError:
        pytest.skip("this file system takes only names of UTF-8")
    assert fullframe("run", odd, "-o", tmp_path / "out", "--save", ",".join(PHOTO_OUTPUTS)) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"caf_.{kind}" for kind in PHOTO_OUTPUTS if kind not in ("overlay", "sheet", "bvh")),
        *(f"caf__{track}.bvh" for track in range(3)),
        "caf__overlay.jpg",
        "caf__sheet.jpg",
    }
    assert People.load(tmp_path / "out/caf_.npz").image == str(odd)


def test_an_output_that_cannot_be_written_does_not_stop_the_others(
    small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/small_overlay.jpg").mkdir(parents=True)
    assert fullframe("run", small_photo, "-o", tmp_path / "out", "--save", "overlay,npz") == 1
    assert len(People.load(tmp_path / "out/small.npz")) == 3
    assert "small.jpg: " in capsys.readouterr().err


def test_no_person_is_a_result(empty_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fullframe("run", empty_photo, "-o", tmp_path / "out", "--save", ",".join(PHOTO_OUTPUTS)) == 0
    assert "no person found" in capsys.readouterr().err
    assert len(People.load(tmp_path / "out/empty.npz")) == 0
    assert len(list((tmp_path / "out").iterdir())) == 7


@pytest.mark.parametrize("size", [(1, 1), (20_000, 10)])
def test_extreme_photos(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert fullframe("run", tmp_path / "a.png", "-o", tmp_path / "out") == 0


def test_a_turned_photo_is_turned_upright_and_says_so(
    small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8  # the camera's top is at the right: to be turned by a quarter to the left
    exif.get_ifd(0x8769)[0xA405] = 28
    with Image.open(small_photo) as image:
        taken = image.resize((560, 420))  # 4:3, as cameras take photos
        taken.rotate(-90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert fullframe("run", tmp_path / "turned.jpg", "-o", tmp_path / "out", "--save", "npz") == 0
    assert "turned upright (EXIF orientation 8)" in capsys.readouterr().err
    people = People.load(tmp_path / "out/turned.npz")
    assert people.orientation == 8 and people.camera.source == "exif" and people.camera.size == (560, 420)
    assert len(people) == 3


def test_given_boxes_and_camera_are_used(small_photo: Path, tmp_path: Path) -> None:
    boxes = [{"file_name": "small.jpg", "category_id": 1, "bbox": [20, 60, 150, 350], "score": 0.7}]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    out = tmp_path / "out"
    options = ("--boxes", tmp_path / "boxes.json", "--save", "npz", "--intrinsics", 600, 610, 260, 220)
    assert fullframe("run", small_photo, "-o", out, *options) == 0
    people = People.load(out / "small.npz")
    np.testing.assert_allclose(people.boxes, [[20, 60, 170, 410]])
    np.testing.assert_allclose(people.scores, [0.7])
    assert people.camera.source == "intrinsics" and people.camera.focal == (600, 610)


def test_people_of_other_categories_are_not_called_nobody(
    small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"file_name": "small.jpg", "category_id": 3, "bbox": [10, 10, 50, 50]}] * 12
    entries.append({"file_name": "other.jpg", "category_id": 1, "bbox": [10, 10, 50, 50]})
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    options = ("--boxes", tmp_path / "boxes.json", "--save", "npz")
    assert fullframe("run", small_photo, "-o", tmp_path / "out", *options) == 0
    said = capsys.readouterr().err
    assert "0 people; 0 of 12 entries in boxes.json are people: 12 of another category (id 3)" in said
    assert "no person found" not in said and len(People.load(tmp_path / "out/small.npz")) == 0


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([5000, 10, 50, 50], "outside"),
        ([10, 10, 0, 50], "has no area"),
        ([float("nan"), 10, 50, 50], "is not finite"),
    ],
)
def test_impossible_boxes_fail_with_a_reason(
    small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], box: list[float], reason: str
) -> None:
    (tmp_path / "boxes.json").write_text(
        json.dumps([{"file_name": "small.jpg", "category_id": 1, "bbox": box}])
    )
    assert fullframe("run", small_photo, "-o", tmp_path / "out", "--boxes", tmp_path / "boxes.json") == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--save", "fbx"), "--save takes any of overlay,sheet,npz"),
        (("--save", "csv"), "--save csv is for videos"),
        (("--rig", "vrm"), "--rig vrm is for files with a skeleton"),
        (("--save", ","), "--save takes any of"),
        (("--focal", 0), "focal length must be positive"),
        (("--focal", -100), "focal length must be positive"),
        (("--fov", 180), "field of view must lie between"),
        (("--focal", 500, "--fov", 60), "only one of focal, fov, vertical fov, intrinsics and camera"),
        (("--body", "smplx"), "unknown body"),
        (("--body", "smpl", "--body-path", "none.npz"), "none.npz"),
        (("--model", "none.safetensors"), "none.safetensors"),
        (("--detector", "eyes"), "eyes"),
        (("--boxes", "none.json"), "none.json"),
    ],
)
def test_impossible_requests(
    small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple, reason: str
) -> None:
    assert fullframe("run", small_photo, "-o", tmp_path / "out", *options) == 2
    assert reason in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("pattern", ["none*.jpg", "."])
def test_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fullframe("run", pattern, "-o", "out") == 2
    assert (
        "no file matches" in (said := capsys.readouterr().err) or "no photos or videos in this folder" in said
    )


def test_an_output_folder_that_cannot_be_created(
    small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert fullframe("run", small_photo, "-o", tmp_path / "file/out") == 2
    assert "cannot create the output folder" in capsys.readouterr().err


def test_inputs_are_not_overwritten(
    small_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.json").write_text("[]")
    options = ("--keypoints", tmp_path / "small.json", "--save", "json")
    assert fullframe("run", small_photo, "-o", tmp_path, *options) == 2
    assert "would overwrite an input" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "small.json").read_text() == "[]"


def test_brackets_in_names_are_printed_as_they_are(
    empty_photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a [final].png", "[red]b.png")
    (tmp_path / "m[").mkdir()
    broken = tmp_path / "m[" / "bold].jpg"
    broken.write_text("no photo")
    for name in names:
        shutil.copy(empty_photo, tmp_path / name)
    photos = (broken, *(tmp_path / name for name in names))
    assert fullframe("run", *photos, "-o", tmp_path / "out", "--save", "json") == 1
    said = capsys.readouterr().err
    assert all(name in said for name in (*names, "m[/bold].jpg", "a [final].json"))
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fullframe("run", "-o", tmp_path) == 2
    assert "at least one photo" in capsys.readouterr().err


def test_one_photo_named_twice_is_one_photo(empty_photo: Path) -> None:
    again = empty_photo.parent / ".." / empty_photo.parent.name / empty_photo.name
    assert find_inputs([str(empty_photo), str(again)]).names == [str(empty_photo)]


def test_results_do_not_go_among_the_photos(small_photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fullframe("run", small_photo.parent, "-o", small_photo.parent) == 2
    assert "is the folder of the inputs" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="everything is writable for root, and on Windows"
)
def test_an_output_folder_that_is_not_writable(small_photo: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert fullframe("run", small_photo, "-o", tmp_path / "out") == 2


def test_names_of_results_stay_apart() -> None:
    paths = ["a/x.jpg", "a/x.png", "b/x.jpg", "b/X.jpg", "c.d/e.f.jpg", "a/x.mp4", "http://h/x.mp4?k=1"]
    names = output_names(paths)
    assert names[paths[0]] == "x" and names[paths[4]] == "e.f"
    assert len({name.lower() for name in names.values()}) == 7


def test_a_closed_pipe() -> None:
    process = subprocess.Popen([*MAIN, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.close() is None
    assert process.stderr is not None and process.stderr.read() == ""
    assert process.wait(60) == 1


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files(small_photo: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(20):
        shutil.copy(small_photo, folder / f"{i:02}.jpg")
    process = subprocess.Popen(
        [*MAIN, "run", str(folder), "-o", str(out), "--save", "npz,glb"],
        stderr=subprocess.PIPE,
        text=True,
        # Jobs in the background are started with Ctrl-C ignored, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("*.glb")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in said
    files = list(out.iterdir())
    assert 0 < len(files) < 40 and not [f for f in files if f.name.startswith(".")]
    for file in files:
        if file.suffix == ".npz":
            assert len(People.load(file)) == 3
        else:
            assert len(trimesh.load_scene(file).geometry) == 3


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert fullframe("doctor") == 0
    said = capsys.readouterr().err
    for word in ("torch", "cpu", "open", "smpl", "nanodet", "rtmlib"):
        assert word in said
