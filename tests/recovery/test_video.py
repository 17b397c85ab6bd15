import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import video_fixtures

from fullframe.geometry.camera import Camera
from fullframe.io.workdir import WorkError
from fullframe.recovery import video as recovery
from fullframe.recovery import video_tracker
from fullframe.recovery.frame_results import FrameResults
from fullframe.recovery.photo import CameraOptions, Recoverer
from fullframe.recovery.video import finish_clip, process
from fullframe.results.clip import Clip
from fullframe.video.reader import VideoReader

PEOPLE = 2


def looks(first: int, frames: int) -> int:
    """At how many frames from the first on the detector looks in a video of 25 frames/s."""
    return sum(frame >= first for frame in (0, 2, 4, 6, *range(7, frames, 2)))


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (video_tracker, recovery):
        monkeypatch.setattr(module, "CHUNK", 8)


def assert_same(one: Clip, other: Clip) -> None:
    for field in fields(Clip):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, field.name)
        else:
            assert a == b, field.name


def frames_of(path: Path) -> int:
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


def test_people_of_a_video(make_video: Any, recoverer: Recoverer, tmp_path: Path) -> None:
    video = make_video(frames=20, sound="aac")
    reports: list[tuple[str, int, int | None]] = []
    result = process(
        recoverer,
        video,
        CameraOptions(focal=100),
        overlay=tmp_path / "overlay.mp4",
        smooth=False,
        progress=lambda *arguments: reports.append(arguments),
    )
    clip = result.clip
    assert clip.num_frames == 20 and set(clip.track_ids) == {0} and result.complete and result.drawn == 20
    assert clip.camera.source == "focal" and clip.camera.size == (96, 64) and clip.video == str(video)
    np.testing.assert_allclose(clip.times, np.arange(20) / 25, atol=1e-4)
    assert (np.ptp(clip.betas, axis=0) == 0).all()  # one shape
    assert reports[0] == ("finding people", 1, 20) and len(reports) == 40
    assert reports[-1] == ("drawing the overlay", 20, 20)
    with VideoReader(tmp_path / "overlay.mp4") as reader, VideoReader(video) as original:
        assert reader.size == (96, 64) and reader.has_audio
        pairs = list(zip(reader, original, strict=True))
    np.testing.assert_allclose([a.time for a, _ in pairs], clip.times, atol=1e-4)
    assert all(np.abs(a.image.astype(int) - b.image).max() > 40 for a, b in pairs)  # a body is drawn
    assert sorted(p.name for p in tmp_path.iterdir()) == ["overlay.mp4", "walk.mp4"]


def test_each_row_is_what_the_network_says_of_the_frame_alone(make_video: Any, recoverer: Recoverer) -> None:
    """Batches over frames, threads and order mix nothing up."""
    from video_fixtures import picture

    from fullframe.models import predict_people
    from fullframe.recovery.frame_results import FrameResults
    from fullframe.recovery.video import clip_camera

    video = make_video(frames=11, images=lambda i: picture(i, people=PEOPLE))
    with VideoReader(video) as reader:
        camera = clip_camera(reader)
        rows = FrameResults.joined([part for part, _ in video_tracker.analyse(recoverer, reader, camera, [])])
    clip = rows.to_clip(camera, "open", "tiny", "")
    assert len(clip) == 11 * PEOPLE
    with VideoReader(video) as reader:
        for frame in reader:
            here = clip.rows_of(frame.index)
            alone = predict_people(recoverer.network, frame.image, clip.boxes[here], camera)
            np.testing.assert_allclose(clip.pose[here], alone.pose, atol=1e-4)
            np.testing.assert_allclose(clip.translation[here], alone.translation, rtol=1e-3)


@pytest.mark.parametrize("stop_at", [3, 8, 13, 19])
def test_a_stopped_run_resumes_with_the_same_result(
    make_video: Any, recoverer: Recoverer, tmp_path: Path, stop_at: int
) -> None:
    video, work = make_video(frames=20), tmp_path / "work"
    whole = process(recoverer, video).clip
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= stop_at

    stopped = process(recoverer, video, work=work, overlay=tmp_path / "o.mp4", stop=stop)
    assert not stopped.analysed and not stopped.complete
    assert stopped.clip.num_frames == stop_at == stopped.drawn == frames_of(tmp_path / "o.mp4")
    recoverer.detector.calls = 0  # type: ignore[attr-defined]
    again = process(recoverer, video, work=work, overlay=tmp_path / "o.mp4")
    assert recoverer.detector.calls == looks(stop_at // 8 * 8, 20)  # type: ignore[attr-defined]
    assert again.complete and frames_of(tmp_path / "o.mp4") == 20
    assert_same(again.clip, whole)


def test_an_analysed_video_is_not_analysed_again(
    make_video: Any, recoverer: Recoverer, tmp_path: Path
) -> None:
    video, work = make_video(frames=20), tmp_path / "work"
    whole = process(recoverer, video).clip

    def full(_: object) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        process(recoverer, video, work=work, finish=full)
    recoverer.detector.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="no space left"):
        process(recoverer, video, work=work, finish=full)
    assert recoverer.detector.calls == 0  # type: ignore[attr-defined]
    other = CameraOptions(focal=500)
    with pytest.raises(WorkError, match="holds work with other settings"):
        process(recoverer, video, other, work=work)
    finished: list[Clip] = []
    process(recoverer, video, work=work, finish=lambda result: finished.append(result.clip))
    assert recoverer.detector.calls == 0 and not work.exists()  # type: ignore[attr-defined]
    assert_same(finished[0], whole)


def test_the_work_with_other_settings_is_replaced_if_that_is_asked_for(
    make_video: Any, recoverer: Recoverer, tmp_path: Path
) -> None:
    video, work = make_video(frames=20), tmp_path / "work"
    process(recoverer, video, work=work, stop=iter([False] * 12 + [True] * 99).__next__)
    recoverer.detector.calls = 0  # type: ignore[attr-defined]
    other = CameraOptions(focal=500)  # another camera is another request
    process(recoverer, video, other, work=work, restart=True)
    assert recoverer.detector.calls == looks(0, 20)  # type: ignore[attr-defined]


def test_nothing_is_kept_of_a_video_that_fails_at_once(
    make_video: Any, recoverer: Recoverer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, work = make_video(frames=20), tmp_path / "work"
    monkeypatch.setattr(recoverer.detector, "boxes", lambda image: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        process(recoverer, video, work=work)
    assert not work.exists()


def test_stopping_while_drawing_leaves_a_playable_overlay(
    make_video: Any, recoverer: Recoverer, tmp_path: Path
) -> None:
    video, drawn = make_video(frames=20), 0

    def progress(stage: str, done: int, total: int | None) -> None:
        nonlocal drawn
        drawn = done if stage == "drawing the overlay" else 0

    overlay = tmp_path / "o.mp4"
    result = process(recoverer, video, overlay=overlay, stop=lambda: drawn >= 5, progress=progress)
    assert result.analysed and not result.complete and result.drawn == 5 == frames_of(overlay)
    assert result.clip.num_frames == 20


def test_an_error_leaves_no_overlay_and_no_folder(
    make_video: Any, recoverer: Recoverer, tmp_path: Path
) -> None:
    video = make_video(frames=20)

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage == "drawing the overlay" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process(recoverer, video, overlay=tmp_path / "o.mp4", progress=progress)
    assert [p.name for p in tmp_path.iterdir()] == [video.name]


def test_a_video_without_people(make_video: Any, recoverer: Recoverer, tmp_path: Path) -> None:
    ground = np.full((64, 96, 3), 60, np.uint8)
    video = make_video(frames=30, images=lambda index: ground)
    result = process(recoverer, video, overlay=tmp_path / "o.mp4")
    assert len(result.clip) == 0 and result.clip.num_frames == 30 == frames_of(tmp_path / "o.mp4")


def test_a_cut_ends_all_tracks(make_video: Any, recoverer: Recoverer) -> None:
    """Two people, although they stand at the same place before and after the cut."""
    rng = np.random.default_rng(0)
    places = [np.kron(rng.integers(0, 90, (8, 12)), np.ones((8, 8))).astype(np.uint8) for _ in range(2)]

    def images(index: int) -> np.ndarray:
        image = np.stack([places[index >= 12]] * 3, axis=-1)
        image = (image * ((1.0, 0.8, 0.2), (0.1, 0.7, 1.0))[index >= 12]).astype(np.uint8)
        image[16:56, 40:52] = (220, 30, 40)
        return image

    clip = process(recoverer, make_video(frames=24, images=images), smooth=False).clip
    before, after = (set(clip.track_ids[clip.frames < 12]), set(clip.track_ids[clip.frames >= 12]))
    assert len(before) == len(after) == 1 and not before & after


def test_one_frame_and_slow_ones(make_video: Any, recoverer: Recoverer) -> None:
    assert process(recoverer, make_video(frames=1)).clip.num_frames == 1
    assert process(recoverer, make_video(frames=4, fps=1)).clip.times[-1] == pytest.approx(3)


def test_scores_count_the_keypoints_unless_people_are_given(recoverer: Recoverer) -> None:
    frames, confidence = 10, 0.5
    keypoints = np.full((frames, 17, 3), confidence, np.float32)
    keypoints[-1] = 0  # not detected
    part = FrameResults(
        times=np.arange(frames) / 25,
        cuts=np.zeros(0, np.int64),
        frames=np.arange(frames),
        track_ids=np.zeros(frames, np.int64),
        boxes=np.tile(np.float32([10, 10, 30, 50]), (frames, 1)),
        scores=np.full(frames, 0.8, np.float32),
        keypoints=keypoints,
        pose=np.tile(np.eye(3, dtype=np.float32), (frames, 24, 1, 1)),
        betas=np.zeros((frames, 11), np.float32),
        translation=np.tile(np.float32([0, 0, 3]), (frames, 1)),
        uncertainty=np.full((frames, 24, 3), 0.05, np.float32),
    )
    own: Any = SimpleNamespace(has_tracks=True)
    camera = Camera.from_diagonal((64, 48))
    for given, first in ((None, 0.4), (own, 0.8)):
        scores = finish_clip(recoverer, [part], camera, "", True, False, given).scores
        np.testing.assert_allclose(scores, [first] * (frames - 1) + [0.8])


def test_a_camera_that_moves_is_named(recoverer: Recoverer, caplog: pytest.LogCaptureFixture) -> None:
    for share in (0.05, 0.5):
        nobody = {
            "cuts": np.zeros(0, np.int64),
            "frames": np.zeros(0, np.int64),
            "track_ids": np.zeros(0, np.int64),
            "boxes": np.zeros((0, 4), np.float32),
            "scores": np.zeros(0, np.float32),
            "keypoints": np.zeros((0, 17, 3), np.float32),
            "pose": np.zeros((0, 24, 3, 3), np.float32),
            "betas": np.zeros((0, 11), np.float32),
            "translation": np.zeros((0, 3), np.float32),
            "uncertainty": np.zeros((0, 24, 3), np.float32),
        }
        part = FrameResults(times=np.arange(4) / 25, **nobody)
        part.unexplained[:] = share
        clip = finish_clip(recoverer, [part], Camera.from_diagonal((64, 48)), "a.mp4", True, False)
        assert not clip.camera_turns
        assert ("a.mp4: the camera moves" in caplog.text) == (share > 0.1)


def test_the_camera_is_given_for_the_original_size() -> None:
    class Large:
        original_size, size, source = (8192, 4096), (4096, 2048), "large.mp4"

    camera = recovery.clip_camera(Large(), CameraOptions(focal=6000))  # type: ignore[arg-type]
    # (0, 0) is the centre of the first pixel of both sizes.
    assert camera == Camera((3000, 3000), (2047.75, 1023.75), (4096, 2048), "focal")
    assert recovery.clip_camera(Large()).focal[0] == pytest.approx(np.hypot(4096, 2048))  # type: ignore[arg-type]


# A process of its own, since it is to be killed. Slow enough to be killed on the way.
SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import video_fixtures
from fullframe.recovery import video_tracker, video
video_tracker.CHUNK = video.CHUNK = 8
recoverer = video_fixtures.recoverer.__wrapped__(video_fixtures.load_body(num_betas=11))
video.process(recoverer, sys.argv[1], work=Path(sys.argv[2]), progress=lambda *a: time.sleep(0.1))
"""


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_result(
    make_video: Any, recoverer: Recoverer, tmp_path: Path
) -> None:
    video, work = make_video(frames=40), tmp_path / "work"
    command = [
        sys.executable,
        "-c",
        SCRIPT.format(here=str(Path(video_fixtures.__file__).parent)),
        str(video),
        str(work),
    ]
    killed = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (work / "frames/000000008").is_dir() and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    known = len(list(work.glob("frames/0*")))
    assert 2 <= known < 5
    resumed = process(recoverer, video, work=work)
    assert recoverer.detector.calls == looks(8 * known, 40)  # type: ignore[attr-defined]
    assert_same(resumed.clip, process(recoverer, video).clip)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the memory from /proc")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames(make_video: Any, recoverer: Recoverer, tmp_path: Path) -> None:
    def resident() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    size = (480, 360)  # 0.5 MB a frame: 300 frames are 150 MB
    ground = np.full((360, 480, 3), 60, np.uint8)
    video = make_video(frames=300, size=size, images=lambda i: ground, options={"preset": "ultrafast"})
    memory: list[float] = []
    process(
        recoverer,
        video,
        overlay=tmp_path / "o.mp4",
        progress=lambda stage, done, total: memory.append(resident()),
    )
    assert len(memory) == 600
    for start in (0, 300):
        assert max(memory[start + 250 : start + 300]) - max(memory[start + 50 : start + 100]) < 25
