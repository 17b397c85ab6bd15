import json
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import trimesh
from commands import fullframe
from PIL import Image

from fullframe.body.body_model import load_body
from fullframe.data.formats.trc import read_trc
from fullframe.export import CLIP_EXPORTERS
from fullframe.models import create_model, save_checkpoint
from fullframe.recovery.inputs import find_inputs, is_live, is_video
from fullframe.recovery.outputs import VIDEO_OUTPUTS
from fullframe.results.clip import Clip
from fullframe.results.people import People
from fullframe.video.reader import VideoReader
from fullframe.video.writer import VideoWriter


@pytest.fixture(scope="module")
def clip(photo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 8 frames in which the camera moves over a photo of three people."""
    path = tmp_path_factory.mktemp("videos") / "three.mp4"
    with Image.open(photo_path) as photo:
        image = np.asarray(photo.convert("RGB").resize((525, 430)))
    with VideoWriter(path, (501, 410), 30) as writer:
        for index in range(8):
            writer.write(np.ascontiguousarray(image[index : index + 410, index : index + 501]), index / 30)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    model = create_model("cliff", encoder="resnet18", crop=(64, 64), num_betas=11)
    save_checkpoint(model, path, body="open", data="none", licence="none", metrics={}, dtype="fp16")
    return path


def frames_of(path: Path) -> int:
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


def test_a_video_gives_every_output(
    clip: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {"usd": "pxr", "angles": "matplotlib"}
    kinds = [kind for kind in VIDEO_OUTPUTS if kind not in needed or find_spec(needed[kind])]
    options = ("--model", network, "--save", ",".join(kinds), "--fov", 60)
    assert fullframe("run", clip, "-o", tmp_path / "out", *options) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "3 people in 8 frames" in said and "(fov)" in said and "three_overlay.mp4" in said
    found = Clip.load(tmp_path / "out/three.npz")
    assert found.num_frames == 8 and len(set(found.track_ids)) == 3 and found.model == "tiny+keypoint-fit"
    assert frames_of(tmp_path / "out/three_overlay.mp4") == 8
    assert len(trimesh.load_scene(tmp_path / "out/three.glb").geometry) >= 3
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "three.csv",
        "three.json",
        "three_0.bvh",
        "three_2.smpl.npz",
        "three_1.trc",
        "three_0.mot",
    } <= names
    assert not [name for name in names if name.startswith(".")]


def test_angles_need_matplotlib(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before anything is computed."""
    monkeypatch.setattr(
        "fullframe.cli.run_request.find_spec", lambda name: None if name == "matplotlib" else find_spec(name)
    )
    assert fullframe("run", clip, "-o", tmp_path / "out", "--save", "trc,angles") == 2
    assert "pip install 'fullframe[evaluate]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_heights_and_calibrations(
    clip: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clip has half the size of the calibration; one of the heights is of nobody."""
    with VideoReader(clip) as reader:
        width, height = reader.size
    matrix = [[2400, 0, width], [0, 2400, height], [0, 0, 1]]
    values = {"K": matrix, "size": [2 * width, 2 * height], "distortion": [-0.2, 0.05, 0, 0, 0]}
    (tmp_path / "camera.json").write_text(json.dumps(values))
    options = ("--model", network, "--save", "npz,overlay,trc", "--camera", tmp_path / "camera.json")
    assert fullframe("run", clip, "-o", tmp_path / "out", *options, "--height", "1:1.9,8:1.5") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "focal 1200 px (calibration)" in said
    assert "--height names 8, who is not there; track ids are 0, 1, 2" in said
    found = Clip.load(tmp_path / "out/three.npz")
    assert found.camera.distortion == (-0.2, 0.05, 0, 0, 0) and found.camera.size == (width, height)
    body = load_body("open", num_betas=found.betas.shape[1])
    stature = np.ptp(
        body.data.template[:, 1] + found.betas @ body.data.shape_dirs[:, 1, : body.num_betas].T, 1
    )
    assert np.allclose(stature[found.track_ids == 1], 1.9, atol=1e-3)
    assert not np.isclose(stature[found.track_ids == 0], 1.5).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--height", "17.5"), "17.5 m is no person's"),
        (("--height", "tall"), "--height takes metres, 1.75, or metres by track id"),
        (("--camera", "nowhere.yml"), "nowhere.yml"),
        (("--camera", "bad.json"), "bad.json: no camera matrix in it"),
        (("--camera", "good.json", "--fov", "60"), "give only one of focal, fov, vertical fov"),
        (("--vertical-fov", "190"), "between 0 and 180"),
    ],
)
def test_bad_heights_and_calibrations(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    """Refused before anything is computed or written."""
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("{}")
    Path("good.json").write_text('{"K": [[900, 0, 320], [0, 900, 240], [0, 0, 1]]}')
    assert fullframe("run", clip, "-o", tmp_path / "out", *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_calibration_of_another_shape_fails_alone(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"K": [[900, 0, 300], [0, 900, 500], [0, 0, 1]], "size": [600, 1000]}
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert fullframe("run", clip, "-o", tmp_path / "out", "--camera", tmp_path / "a.json") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "three.mp4: the camera was calibrated with images of 600 x 1000 px" in said


@pytest.mark.slow
def test_sports_files_of_a_real_clip(shared: Path, tmp_path: Path) -> None:
    """Two thirds of a second of a clip of two people: angles of standing people, markers above the ground."""
    source, short = shared / "data/photos/demo/sports2d_demo.mp4", tmp_path / "short.mp4"
    with VideoReader(source) as reader, VideoWriter(short, reader.size, 30) as writer:
        for frame in reader:
            if frame.index == 20:
                break
            writer.write(frame.image, frame.time)
    assert fullframe("run", short, "-o", tmp_path / "out", "--save", "npz,trc,mot", "--height", "0:1.8") == 0
    trc = read_trc(tmp_path / "out/short_0.trc")
    assert trc.points.shape == (20, 69, 3) and trc.rate == pytest.approx(30, abs=0.1)
    up = dict(zip(trc.markers, np.moveaxis(trc.points, 1, 0)[..., 1], strict=True))
    assert -0.15 < up["RHeel"].min() < 0.2 and 1.5 < up["Head"].max() < 2.1
    lines = (tmp_path / "out/short_0.mot").read_text().splitlines()
    names = lines[lines.index("endheader") + 1].split("\t")
    values = dict(zip(names, np.array([line.split("\t") for line in lines[-20:]], float).T, strict=True))
    assert (values["knee_angle_r"] > -10).all() and (values["knee_angle_r"] < 70).all()
    assert (np.abs(values["lumbar_extension"]) < 40).all()


def test_the_network_that_comes_with_fullframe_and_a_rig(clip: Path, tmp_path: Path) -> None:
    options = ("--save", "npz,glb,bvh", "--rig", "unreal")
    assert fullframe("run", clip, "-o", tmp_path / "out", *options) == 0
    found = Clip.load(tmp_path / "out/three.npz")
    assert found.model == "cliff-lite+keypoint-fit" and set(found.frames) == set(range(8))
    assert b"upperarm_l" in (tmp_path / "out/three.glb").read_bytes()
    assert "JOINT upperarm_l" in (tmp_path / "out/three_0.bvh").read_text()


def test_bodies_fitted_to_keypoints(clip: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    with VideoReader(clip) as reader, VideoWriter(short, reader.size, 10) as writer:
        for frame in reader:
            if frame.index < 3:
                writer.write(frame.image, frame.time)
    assert fullframe("run", short, "-o", tmp_path / "out", "--model", "keypoint-fit") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["short.npz", "short_overlay.mp4"]
    found = Clip.load(tmp_path / "out/short.npz")
    assert len(found) == 9 and found.model == "keypoint-fit" and (found.keypoints[..., 2] > 0.3).mean() > 0.5
    # The bodies stand where the people are, of whom the frame cuts off the legs.
    x = found.translation[:, 0] / found.translation[:, 2] * found.camera.focal[0] + found.camera.size[0] / 2
    assert ((x > found.boxes[:, 0]) & (x < found.boxes[:, 2])).all()


def test_own_tracks_are_kept(
    clip: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that is seen for two frames, one that pauses, and two that the tracker would take for one."""
    lines = [f"{frame},41,100,120,90,200,1,-1,-1,-1" for frame in range(1, 9)]
    lines += [f"{frame},7,300,110,80,220,0.8,-1,-1,-1" for frame in (1, 2, 6, 7)]
    lines += [f"{frame},{9 if frame < 5 else 10},200,120,90,200,1,-1,-1,-1" for frame in range(1, 9)]
    lines += ["3,5,400,100,60,200,1,-1,-1,-1", "4,5,401,100,60,200,1,-1,-1,-1"]
    (tmp_path / "tracks.txt").write_text("\n".join(lines))
    options = ("--model", network, "--no-refine", "--save", "npz", "--boxes", tmp_path / "tracks.txt")
    assert fullframe("run", clip, "-o", tmp_path / "out", *options) == 0
    found = Clip.load(tmp_path / "out/three.npz")
    frames = {track: found.frames[rows].tolist() for track, rows in found.tracks()}
    assert frames == {
        41: list(range(8)), 7: [*range(7)], 9: [0, 1, 2, 3], 10: [4, 5, 6, 7], 5: [2, 3],
    }  # fmt: skip
    assert not found.detected[(found.track_ids == 7) & (found.frames == 3)].any()  # a gap that was filled
    np.testing.assert_allclose(found.boxes[found.track_ids == 41], [[100, 120, 190, 320]] * 8)
    said = capsys.readouterr().err
    assert "tracks.txt: MOT, 22 people in 8 images" in said and "5 tracks" in said


def test_own_keypoints_of_a_video_without_tracks(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "json"
    folder.mkdir()
    points = np.array([[150 + 3 * (k % 2), 100 + 14 * k, 0.9] for k in range(25)])
    for frame in range(6):
        people = [{"pose_keypoints_2d": points.reshape(-1).tolist()}]
        path = folder / f"three_{frame:012}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": people}))
    options = ("--model", "keypoint-fit", "--save", "npz", "--keypoints", folder)
    assert fullframe("run", clip, "-o", tmp_path / "out", *options) == 0
    found = Clip.load(tmp_path / "out/three.npz")
    assert found.frames.tolist() == list(range(6)) and set(found.track_ids) == {0}
    assert found.keypoints[0, 0].tolist() == pytest.approx([150, 100, 0.9])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"image_id": "three.jpg", "bbox": [1, 2, 30, 40]}]', "does not say which frame of"),
        ('{"0": [{"bbox": [1, 2, 0, 40]}], "9": []}', None),
    ],
)
def test_files_without_people_for_a_video(
    clip: Path,
    network: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    message: str | None,
) -> None:
    (tmp_path / "a.json").write_text(content)
    options = ("--model", network, "--save", "npz", "--boxes", tmp_path / "a.json")
    assert fullframe("run", clip, "-o", tmp_path / "out", *options) == (0 if message is None else 1)
    said = capsys.readouterr().err
    assert (message or "its people are given up to frame 9") in said
    if message is None:
        assert "0 people in 8 frames" in said


def test_photos_and_videos_together_and_bad_ones_do_not_stop_the_others(
    clip: Path, network: Path, photo_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_text("no video")
    (folder / "b.mp4").write_bytes(clip.read_bytes()[:2000])
    shutil.copy(clip, folder / "three.mp4")
    with Image.open(photo_path) as photo:
        photo.resize((525, 430)).save(folder / "three.jpg")
    options = ("--model", network, "--no-refine", "--save", "npz")
    assert fullframe("run", folder, "-o", tmp_path / "out", *options) == 1
    said = capsys.readouterr().err
    assert "2 of 4 inputs failed" in said and said.count("a.mp4: not a video") == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 2 and "three.npz" in names
    kinds = {type(_load(tmp_path / "out" / name)) for name in names}
    assert kinds == {Clip, People}


def _load(path: Path) -> Clip | People:
    try:
        return Clip.load(path)
    except ValueError:
        return People.load(path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--save", "obj"), "--save obj is for photos"),
        (("--boxes", "boxes.json"), "boxes.json: no such file"),
        (("--fov", 200), "field of view"),
        (("rtsp://127.0.0.1:9/x",), "must be the only input"),
    ],
)
def test_impossible_requests(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple, reason: str
) -> None:
    assert fullframe("run", clip, *options, "-o", tmp_path / "out") == 2
    assert reason in " ".join(capsys.readouterr().err.split())


def test_numbered_photos_are_a_clip_when_asked(
    clip: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    with VideoReader(clip) as reader:
        for frame in reader:
            Image.fromarray(frame.image).save(folder / f"{frame.index + 1}.png")
    options = ("-o", tmp_path / "out", "--model", network, "--no-refine")
    assert fullframe("run", folder, *options, "--fps", 20) == 0
    found = Clip.load(tmp_path / "out/frames.npz")
    assert found.num_frames == 8 == frames_of(tmp_path / "out/frames_overlay.mp4")
    assert found.fps == pytest.approx(20) and found.video == str(folder)
    assert fullframe("run", clip, *options, "--fps", 20) == 2
    assert "--fps is for numbered photos" in capsys.readouterr().err


def test_a_missing_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fullframe("run", "97", "-o", tmp_path / "out") == 2
    assert "camera 97: cannot be opened" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_what_is_a_video_and_what_a_camera(clip: Path, photo_path: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "film")
    shutil.copy(photo_path, tmp_path / "picture")
    (tmp_path / "notes").write_text("neither")
    assert is_video(str(tmp_path / "film")) and is_video("a.MOV") and is_video("https://host/a.mp4?key=1")
    assert not any(map(is_video, (str(tmp_path / "picture"), str(tmp_path / "notes"), "a.jpg", "missing")))
    assert all(map(is_live, ("0", "12", "/dev/video3", "rtsp://host/live", "http://host:81/stream")))
    assert not any(map(is_live, ("a.mp4", "https://host/a.mp4", "0.jpg", "photos")))
    assert find_inputs(["rtsp://host/live", str(tmp_path / "film")]).names == [
        "rtsp://host/live",
        str(tmp_path / "film"),
    ]


def test_ctrl_c_while_results_are_written_ends_after_that_video(
    clip: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copy(clip, tmp_path / "other.mp4")
    export = CLIP_EXPORTERS["npz"]

    def interrupted(*arguments: Any) -> list[Path]:
        signal.raise_signal(signal.SIGINT)
        return export(*arguments)

    monkeypatch.setitem(CLIP_EXPORTERS, "npz", interrupted)
    options = ("-o", tmp_path / "out", "--model", network, "--no-refine", "--save", "npz")
    assert fullframe("run", clip, other, *options) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["three.npz"]
    found = Clip.load(tmp_path / "out/three.npz")
    assert found.num_frames == 8 and found.video == str(clip.resolve())


def test_a_pattern_does_not_find_the_results_of_the_run_before(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    assert fullframe("run", tmp_path / "*.mp4", "-o", tmp_path) == 2
    assert "is the folder of the inputs" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_ctrl_c_finishes_the_analysed_frames_and_the_command_resumes(
    clip: Path, network: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        "from fullframe.cli.main import main; main()",
        "run",
        str(clip),
        "-o",
        str(out),
    ]
    process = subprocess.Popen(
        [*command, "--model", str(network), "--no-refine"],
        stderr=subprocess.PIPE,
        text=True,
        # Jobs in the background are started with Ctrl-C ignored, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 200
    while not (out / ".three_work/request.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Ctrl-C again to quit now" in said and "re-run the command to resume" in said
    found = Clip.load(out / "three.npz")
    assert 1 <= found.num_frames < 8 and frames_of(out / "three_overlay.mp4") == found.num_frames
    capture = cv2.VideoCapture(str(out / "three_overlay.mp4"))  # another reader than ours
    assert capture.read()[0]

    assert fullframe("run", clip, "-o", out, "--model", network, "--no-refine") == 0
    assert Clip.load(out / "three.npz").num_frames == 8 == frames_of(out / "three_overlay.mp4")
    assert sorted(path.name for path in out.iterdir()) == ["three.npz", "three_overlay.mp4"]
