import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pose2sim_project import (
    BACKGROUND,
    DISTORTION,
    FRAMES,
    NAMES,
    SIZE,
    K,
    make_project,
    write_toml,
    write_trc,
    write_video,
)

from fullframe.body import JOINT_SETS
from fullframe.data.clip_frame import ClipFrame
from fullframe.data.crop import read_pixels
from fullframe.data.formats.pose2sim import Pose2Sim
from fullframe.data.formats.trc import read_trc
from fullframe.data.formats.triangulated_joints import LIMBS
from fullframe.geometry.camera import Camera, project_points
from fullframe.io.image import ImageError

COCO = JOINT_SETS["coco17"].names
ROWS = [COCO.index(name) for name in LIMBS]


@pytest.fixture(scope="module")
def _written(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("pose2sim"))


@pytest.fixture
def project(_written, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(_written.trial.parent, tmp_path / "session")
    return replace(_written, trial=tmp_path / "session" / "trial")


def of_camera(people: Pose2Sim, number: int) -> list:
    return [sample for sample in people if sample.sequence.endswith(f"cam_0{number}")]


class TestTRC:
    points = np.random.default_rng(0).normal(size=(5, 17, 3))

    @pytest.mark.parametrize("unit", ["m", "mm"])
    def test_what_was_written_is_read(self, tmp_path, unit):
        write_trc(tmp_path / "a.trc", self.points, unit=unit, start=3)
        trc = read_trc(tmp_path / "a.trc")
        assert (trc.rate, trc.start, len(trc.markers)) == (30, 3, 14)
        for marker, name in (("RWrist", "right_wrist"), ("Nose", "nose"), ("LHip", "left_hip")):
            found = trc.points[:, trc.markers.index(marker)]
            np.testing.assert_allclose(found, self.points[:, COCO.index(name)][:, [1, 2, 0]], atol=1e-12)

    def test_missing_points(self, tmp_path):
        points = self.points.copy()
        points[2, COCO.index("left_ankle")] = np.nan
        points[3, COCO.index("left_ankle")] = 0
        write_trc(tmp_path / "a.trc", points, markers=["RHip", "LAnkle"])
        unknown = np.isnan(read_trc(tmp_path / "a.trc").points)
        np.testing.assert_array_equal(unknown.any(axis=2), [[0, 0], [0, 0], [0, 1], [0, 1], [0, 0]])

    def test_the_last_fields_may_be_cut_off(self, tmp_path):
        """Editors strip the tabs that end a line."""
        points = self.points.copy()
        points[1, COCO.index("left_ankle")] = np.nan
        path = tmp_path / "a.trc"
        write_trc(path, points, markers=["RHip", "LAnkle"])
        path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()))
        assert np.isnan(read_trc(path).points[1, 1]).all()
        assert np.isfinite(read_trc(path).points[0]).all()

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("\tm\t", "\tft\t", "a.trc: its unit is 'ft'; known: m, mm, cm"),
            ("\t5\t14\t", "\t6\t14\t", "a.trc: holds 5 frames, but its header says 6"),
            ("\n3\t", "\n3\tx", "a.trc: holds"),
            (
                "DataRate",
                "Rate",
                "a.trc: not a readable .trc file .its header has no DataRate",
            ),
            ("\t0.1\t", "\t0.1\thello", "a.trc: not a readable .trc file .*hello"),
        ],
    )
    def test_damaged_files_are_named(self, tmp_path, old, new, message):
        path = tmp_path / "a.trc"
        write_trc(path, self.points)
        text = path.read_text()
        assert old in text
        if message.endswith("holds"):
            text = text[: text.index(old) + 1]
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ValueError, match=message):
            read_trc(path)

    @pytest.mark.parametrize("content", [b"", b"hello\n", bytes(range(256)) * 20])
    def test_something_else(self, tmp_path, content):
        (tmp_path / "a.trc").write_bytes(content)
        with pytest.raises(ValueError, match="a.trc: not a readable"):
            read_trc(tmp_path / "a.trc")
        with pytest.raises(FileNotFoundError):
            read_trc(tmp_path / "b.trc")


def test_joints_are_in_each_cameras_frame(project):
    """Through the y-up file, the calibration and the distorted clip: exactly where the body was put."""
    people = Pose2Sim(project.trial)
    assert len(people) == 3 * FRAMES
    for number in range(3):
        true = project.joints(number)
        samples = of_camera(people, number + 1)
        assert [sample.frame for sample in samples] == list(range(FRAMES))
        for sample, joints in zip(samples, true, strict=True):
            np.testing.assert_allclose(sample.joints["coco17"][ROWS, :3], joints[ROWS], atol=1e-5)
            pixels = project_points(joints, Camera.from_intrinsics(K, SIZE))
            np.testing.assert_allclose(sample.keypoints["coco17"][ROWS, :2], pixels[ROWS], atol=1e-3)
            assert sample.joints["coco17"][COCO.index("left_eye"), 3] == 0


def center(image: np.ndarray) -> np.ndarray:
    """Of the person in a picture, px: pixels weigh what they differ from the background."""
    weight = np.abs(image.astype(float) - BACKGROUND).sum(axis=2)
    weight[weight < 10] = 0
    y, x = np.indices(weight.shape)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_pictures_are_undistorted(project):
    """They show the person where a camera without distortion sees them, which the clip does not."""
    for sample in [*Pose2Sim(project.trial)][::7]:
        true = center(project.picture(int(sample.sequence[-1]) - 1, sample.frame))
        as_filmed = center(replace(sample.image, camera=sample.image.camera.pinhole).read())
        assert np.linalg.norm(center(read_pixels(sample)) - true) < 0.15
        assert np.linalg.norm(as_filmed - true) > 0.5


def test_undistortion_is_that_of_opencv():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8), (0, 0), 2)
    pinhole = Camera.from_intrinsics(K, SIZE)
    found = replace(pinhole, distortion=tuple(DISTORTION)).undistort_image(image)
    expected = cv2.undistort(image, K, DISTORTION)
    assert np.abs(found.astype(int) - expected).max() <= 2
    assert np.abs(found.astype(int) - image).max() > 20
    assert replace(pinhole, distortion=(0.0,) * 4).undistort_image(image) is image
    fisheye = replace(pinhole, distortion=(0.1, 0.02, 0.0, 0.0), fisheye=True).undistort_image(image)
    expected = cv2.fisheye.undistortImage(image, K, np.array([0.1, 0.02, 0, 0]), Knew=K)
    assert np.abs(fisheye.astype(int) - expected).max() <= 2


def test_frames_are_read_in_any_order(project):
    samples = of_camera(Pose2Sim(project.trial), 1)
    forwards = [read_pixels(sample) for sample in samples]
    for i in (5, 5, 7, 0, FRAMES - 1, 2):
        np.testing.assert_array_equal(read_pixels(samples[i]), forwards[i])
    assert np.abs(forwards[0].astype(int) - forwards[-1]).max() > 50
    beyond = ClipFrame(samples[0].image.video, FRAMES, samples[0].image.camera)
    with pytest.raises(ImageError, match=f"cam_01.mp4: the video ends before frame {FRAMES}"):
        beyond.read()


def test_axes_as_calibrated(project):
    """Files that are not y-up are recognised: otherwise nobody would be in the images."""
    expected = [sample.joints["coco17"] for sample in Pose2Sim(project.trial)]
    project.rewrite_trc(axes=(0, 1, 2))
    people = Pose2Sim(project.trial)
    assert people.notes == [f"trial_0-{FRAMES}.trc: axes as calibrated."]
    for sample, joints in zip(people, expected, strict=True):
        np.testing.assert_allclose(sample.joints["coco17"], joints, atol=1e-6)


@pytest.mark.parametrize("unit", ["mm", "m"])
def test_units_and_first_frames(project, unit):
    """Points of frames 4 to 9, in millimetres: the same truth for the same frames."""
    expected = {s.name.split("#")[0]: s.joints["coco17"] for s in Pose2Sim(project.trial)}
    project.rewrite_trc(points=project.world[4:10], unit=unit, start=4)
    people = Pose2Sim(project.trial)
    assert len(people) == 18
    assert "cam_03.mp4 has 12 frames, trial_0-12.trc points of frames 4 to 9" in " ".join(people.notes)
    for sample in people:
        np.testing.assert_allclose(sample.joints["coco17"], expected[sample.name.split("#")[0]], atol=1e-6)


def test_every_kth_frame(project):
    """At 30 frames/s, one in 0.1 s is every third."""
    assert [s.frame for s in of_camera(Pose2Sim(project.trial, 0.1), 2)] == [0, 3, 6, 9]


def test_a_session_is_opened_as_a_whole(project):
    """Trials below the folder; of two people the filtered files are taken."""
    folder = project.trial / "pose-3d"
    (folder / f"trial_0-{FRAMES}.trc").unlink()
    for person in ("P1", "P2"):
        for suffix in ("", "_filt_butterworth", "_filt_butterworth_LSTM"):
            write_trc(folder / f"trial_{person}_0-{FRAMES}{suffix}.trc", project.world)
    shutil.copytree(project.trial, project.trial.with_name("other"))
    people = Pose2Sim(project.trial.parent)
    assert len(people) == 2 * 2 * 3 * FRAMES
    assert {s.name.partition("#")[2] for s in people} == {
        f"trial_{person}_0-{FRAMES}_filt_butterworth" for person in ("P1", "P2")
    }
    assert len({s.name for s in people}) == len(people)
    assert [s.sequence for s in people] == sorted(s.sequence for s in people)


def test_older_names_of_filtered_files(project):
    folder = project.trial / "pose-3d"
    write_trc(folder / f"trial_filt_butterworth_0-{FRAMES}.trc", project.world)
    assert {s.name.partition("#")[2] for s in Pose2Sim(project.trial)} == {
        f"trial_filt_butterworth_0-{FRAMES}"
    }


@pytest.mark.parametrize(
    ("names", "videos", "order"),
    [
        (("left", "front", "RIGHT"), ("front", "left", "right"), (1, 0, 2)),
        (("cam_10", "cam_2", "cam_1"), ("trial3_cam1", "trial3_cam2", "trial3_cam10"), (2, 1, 0)),
        (("int_cam01_img", "int_cam02_img", "int_cam03_img"), ("cam03", "cam01", "cam02"), (2, 0, 1)),
        (("a", "b", "c"), ("x10", "x2", "x1"), (2, 1, 0)),  # in the order of the cameras
    ],
)
def test_clips_find_their_cameras(tmp_path, _written, names, videos, order):
    """`videos[i]` was filmed by the camera `order[i]` of the calibration."""
    shutil.copytree(_written.trial.parent, tmp_path / "session")
    trial = tmp_path / "session" / "trial"
    write_toml(trial.parent / "calibration/Calib.toml", names, _written.rotations, _written.translations)
    for video, camera in zip(videos, order, strict=True):
        (trial / "videos" / f"{NAMES[camera]}.mp4").rename(trial / "videos" / f"{video}.mp4")
    people = Pose2Sim(trial)
    for video, camera in zip(videos, order, strict=True):
        (first, *_) = (s for s in people if s.sequence.endswith(f"/{video}"))
        np.testing.assert_allclose(
            first.joints["coco17"][ROWS, :3], _written.joints(camera)[0, ROWS], atol=1e-5
        )


class TestBadInput:
    """What cannot be used is named, and ends nothing but itself."""

    def fails(self, project, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Pose2Sim(project.trial)

    def test_missing_markers(self, project):
        project.rewrite_trc(markers=["RHip", "LHip", "RShoulder", "Nose"])
        self.fails(project, r"trial_0-12.trc lacks the markers LShoulder, LElbow, .*; has RHip, LHip")

    def test_an_unreadable_trc(self, project):
        write_trc(project.trial / "pose-3d" / "other_0-12.trc", project.world, num_frames=99)
        people = Pose2Sim(project.trial)
        assert len(people) == 3 * FRAMES
        assert "other_0-12.trc: holds 12 frames, but its header says 99" in people.notes[0]

    def test_an_unreadable_calibration(self, project):
        (project.trial.parent / "calibration" / "Calib.toml").write_text("cam = [")
        self.fails(project, r"trial is left out: .*Calib.toml: not a readable .toml")

    def test_no_or_several_calibrations(self, project):
        folder = project.trial.parent / "calibration"
        shutil.copy(folder / "Calib.toml", folder / "Calib_2.toml")
        self.fails(project, r"several calibrations; leave one of .*Calib.toml, .*Calib_2.toml")
        shutil.rmtree(folder)
        self.fails(project, r"no Calib\*.toml or \*.qca.txt")

    def test_a_calibration_of_another_recording(self, project):
        folder = project.trial.parent / "calibration"
        write_toml(
            folder / "Calib.toml", NAMES, project.rotations, project.translations + np.array([9, 0, 0])
        )
        self.fails(project, r"trial_0-12.trc: its points lie outside the clips' images")

    def test_clips_that_are_too_short(self, project):
        video = project.trial / "videos" / "cam_02.mp4"
        images = [read_pixels(sample) for sample in of_camera(Pose2Sim(project.trial), 2)]
        write_video(video, images[:8])
        people = Pose2Sim(project.trial)
        assert len(of_camera(people, 2)) == 8 and len(people) == 2 * FRAMES + 8
        assert any(
            "cam_02.mp4 has 8 frames, trial_0-12.trc points of frames 0 to 11: only" in note
            for note in people.notes
        )
        assert read_pixels(of_camera(people, 2)[-1]).shape == (SIZE[1], SIZE[0], 3)

    def test_clips_of_another_size_or_none(self, project):
        write_video(project.trial / "videos" / "cam_01.mp4", [np.zeros((64, 48, 3), np.uint8)] * 3)
        (project.trial / "videos" / "cam_03.mp4").write_bytes(b"nothing")
        people = Pose2Sim(project.trial)
        assert {s.sequence[-6:] for s in people} == {"cam_02"}
        text = " ".join(people.notes)
        assert re.search(
            r"camera cam_01 was calibrated with images of 160 x 200 px, which cannot be scaled to 48 x 64",
            text,
        )
        assert re.search(r"cam_03.mp4 is left out: .*cam_03.mp4: not a video", text)

    def test_no_clips(self, project):
        shutil.rmtree(project.trial / "videos")
        self.fails(project, "videos has no clips")

    def test_clips_without_a_camera(self, project):
        (project.trial / "videos" / "cam_01.mp4").rename(project.trial / "videos" / "front.mp4")
        shutil.copy(project.trial / "videos" / "front.mp4", project.trial / "videos" / "back.mp4")
        self.fails(
            project, r"the clips .*back.mp4.* cannot be matched to the calibrated cameras cam_01, cam_02"
        )

    def test_unknown_joints(self, project):
        points = project.world.copy()
        points[3, COCO.index("left_wrist")] = np.nan
        points[5] = np.nan
        project.rewrite_trc(points=points)
        people = Pose2Sim(project.trial)
        assert len(people) == 3 * (FRAMES - 2)
        assert "cam_01.mp4, trial_0-12.trc: 2 of 12 frames are left out" in " ".join(people.notes)

    def test_a_person_who_leaves_the_picture(self, project):
        points = project.world.copy()
        points[8:] += project.rotations[0][0] * 5  # to the right of the first camera
        project.rewrite_trc(points=points)
        assert [s.frame for s in of_camera(Pose2Sim(project.trial), 1)] == list(range(8))

    def test_missing_folders(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere is missing: .*https://"):
            Pose2Sim(tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match=r"pose-3d/\*.trc is missing: triangulate first"):
            Pose2Sim(tmp_path)


def test_json_of_names_is_plain(project):
    """Names go into reports: they hold the trial and the clip, not the machine's folders."""
    names = json.dumps([s.name for s in Pose2Sim(project.trial)])
    assert str(Path(project.trial).parent.parent) not in names
    assert "trial/cam_01/0#trial_0-12" in names
