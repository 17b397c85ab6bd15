"""Calibrations as programs write them, and images of other resolutions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pose2sim_project import DISTORTION, NAMES, SIZE, K, write_toml
from scipy.spatial.transform import Rotation

from fullframe.geometry.camera import Camera
from fullframe.io.calibration import choose_camera, read_calibration
from fullframe.recovery.photo import CameraOptions, read_camera

MATRIX = np.array([[1500.0, 0, 961], [0, 1490.0, 539], [0, 0, 1]])
LENS = (-0.2, 0.05, 0.001, -0.002, 0.01)
HD = (1920, 1080)
ROTATIONS = Rotation.from_rotvec([[0, 0, 0.1], [1, 0, 0], [0, 2, 0.3]]).as_matrix()
TRANSLATIONS = np.arange(9.0).reshape(3, 3)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "Calib.toml"
    write_toml(path, NAMES, ROTATIONS, TRANSLATIONS)
    return path


class TestPose2Sim:
    def test_toml(self, toml):
        cameras = read_calibration(toml)
        assert tuple(camera.name for camera in cameras) == NAMES
        for camera, rotation, translation in zip(cameras, ROTATIONS, TRANSLATIONS, strict=True):
            np.testing.assert_allclose(camera.pose[0], rotation, atol=1e-9)
            np.testing.assert_allclose(camera.pose[1], translation)
            np.testing.assert_allclose(camera.intrinsics, K)
            np.testing.assert_allclose(camera.distortion, DISTORTION)
            assert camera.size == SIZE and not camera.fisheye

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("translation", "position", "Calib.toml: cam_01 lacks translation"),
            ("size = [ 160.0,", "size = [", "size of cam_01 is .*expected"),
            ("name =", "name", "Calib.toml: not a readable .toml file"),
            ("distortions = [", "distortions = [ nan,", "distortions of cam_01"),
            (
                "distortions = [",
                "distortions = [ 0.1, 0,",
                "cam_01: got 6 distortion coefficients; expected 4",
            ),
            ("rotation = [", 'rotation = [ "a",', "rotation of cam_01 is not made of numbers"),
            ("matrix", "camera_matrix", None),
        ],
    )
    def test_damaged_toml_is_named(self, toml, old, new, message):
        toml.write_text(toml.read_text().replace(old, new, 1 if message else -1))
        with pytest.raises(ValueError, match=message or "no camera in this calibration"):
            read_calibration(toml)

    def test_files_without_a_pose(self, toml):
        """Intrinsics alone are enough for a single camera."""
        lines = [
            line
            for line in toml.read_text().splitlines()
            if "rotation" not in line and "translation" not in line
        ]
        toml.write_text("\n".join(lines))
        assert [camera.pose for camera in read_calibration(toml)] == [None] * 3

    QCA = """<?xml version="1.0"?><calibration><cameras>
      <camera model="Miqus M3" serial="9"/>
      <camera model="Miqus Video" serial="26578">
        <fov_video left="8" top="0" right="1095" bottom="1919"/>
        <transform x="0" y="-3000" z="1000" r11="1" r12="0" r13="0" r21="0" r22="0" r23="1"
          r31="0" r32="-1" r33="0"/>
        <intrinsic focalLengthU="107520" focalLengthV="107584" centerPointU="34560" centerPointV="61440"
          radialDistortion1="-0.05" radialDistortion2="0.14" radialDistortion3="0"
          tangentalDistortion1="0.001" tangentalDistortion2="0.002"/>
      </camera></cameras></calibration>"""

    def test_qualisys_by_hand(self, tmp_path):
        """A camera 3 m before the origin, 1 m high, looking along y: z is up in its picture."""
        path = tmp_path / "Calib.qca.txt"
        path.write_text(self.QCA)
        (camera,) = read_calibration(path)
        assert camera.name == "26578" and camera.size == (1088, 1920)
        rotation, translation = camera.pose
        np.testing.assert_allclose(rotation @ [0.5, 0, 1.5] + translation, [0.5, -0.5, 3])
        np.testing.assert_allclose(camera.intrinsics, [[1680, 0, 532], [0, 1681, 960], [0, 0, 1]])
        # Without a unit, unlike lengths in 64ths of a pixel.
        np.testing.assert_allclose(camera.distortion, [-0.05, 0.14, 0.001, 0.002, 0])

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("<intrinsic", "<nothing"),
            ("x=", "u="),
            ("</cameras>", ""),
            ("<calibration", '<?xml version="1.0" encoding="utf-9"?><calibration'),
        ],
    )
    def test_damaged_qualisys_is_named(self, tmp_path, old, new):
        path = tmp_path / "Calib.qca.txt"
        path.write_text(self.QCA.replace(old, new, 1))
        with pytest.raises(ValueError, match="Calib.qca.txt: not a readable calibration of Qualisys"):
            read_calibration(path)


def by_opencv(path: Path, fisheye: bool = False) -> None:
    """What OpenCV's sample of calibration writes."""
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("calibration_time", "Mon 01 Jan 2024 10:00:00")
    file.write("image_width", HD[0])
    file.write("image_height", HD[1])
    if fisheye:
        file.write("fisheye_model", 1)
    file.write("camera_matrix", MATRIX)
    file.write("distortion_coefficients", np.array(LENS[:4] if fisheye else LENS)[:, None])
    file.write("avg_reprojection_error", 0.2)
    file.release()


ROS = """image_width: 1920
image_height: 1080
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [1500.0, 0, 961, 0, 1490.0, 539, 0, 0, 1]
distortion_model: {model}
distortion_coefficients:
  rows: 1
  cols: {count}
  data: {values}
rectification_matrix: {{rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}}
"""


@pytest.mark.parametrize("name", ["a.yml", "a.yaml"])
def test_opencv(tmp_path, name):
    by_opencv(tmp_path / name)
    (camera,) = read_calibration(tmp_path / name)
    assert camera.size == HD and camera.distortion == LENS and not camera.fisheye
    np.testing.assert_allclose(camera.intrinsics, MATRIX)
    by_opencv(tmp_path / name, fisheye=True)
    (camera,) = read_calibration(tmp_path / name)
    assert camera.fisheye and camera.distortion == LENS[:4]


@pytest.mark.parametrize(("model", "count"), [("plumb_bob", 5), ("equidistant", 4)])
def test_ros(tmp_path, model, count):
    text = ROS.format(model=model, count=count, values=list(LENS[:count]))
    (tmp_path / "a.yaml").write_text(text)
    (camera,) = read_calibration(tmp_path / "a.yaml")
    assert (camera.name, camera.size, camera.fisheye) == ("narrow_stereo", HD, model == "equidistant")
    assert camera.distortion == LENS[:count]
    np.testing.assert_allclose(camera.intrinsics, MATRIX)
    (tmp_path / "a.yaml").write_text(text.replace(model, "thin_prism"))
    with pytest.raises(ValueError, match="distortion_model 'thin_prism' is not known"):
        read_calibration(tmp_path / "a.yaml")


def test_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"K": MATRIX.tolist(), "size": HD, "distortion": LENS}))
    (camera,) = read_calibration(path)
    assert (camera.size, camera.distortion, camera.fisheye) == (HD, LENS, False)
    assert camera.camera(HD) == Camera((1500, 1490), (961, 539), HD, "calibration", LENS)
    path.write_text(json.dumps({"camera_matrix": MATRIX.tolist(), "D": [[0.1, 0, 0, 0]], "fisheye": True}))
    (camera,) = read_calibration(path)
    assert camera.size is None and camera.fisheye and camera.distortion == (0.1, 0, 0, 0)
    path.write_text(json.dumps({"K": MATRIX.tolist(), "width": 1920, "height": 1080}))
    assert read_calibration(path)[0].camera(HD).distortion == ()


COLMAP = """# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
1 SIMPLE_RADIAL 1920 1080 1500 960 540 -0.1
2 OPENCV 1920 1080 1500 1490 961.5 539.5 -0.2 0.05 0.001 -0.002
3 OPENCV_FISHEYE 1920 1080 900 900 960 540 0.1 0.2 0.3 0.4
4 PINHOLE 3072 2304 2560 2560 1536 1152
5 FULL_OPENCV 1920 1080 1500 1490 961.5 539.5 1e-1 2e-2 3e-3 4e-3 5e-2 6e-2 7e-2 8e-2
"""


def test_colmap(tmp_path):
    """Its pixels begin at the corner of the first, half a pixel before ours."""
    path = tmp_path / "cameras.txt"
    path.write_text(COLMAP)
    one, two, three, four, five = read_calibration(path)
    assert one.name == "1" and one.camera(HD).principal_point == (959.5, 539.5)
    assert one.camera(HD).focal == (1500, 1500) and one.distortion[:3] == (-0.1, 0, 0)
    np.testing.assert_allclose(two.intrinsics, MATRIX)
    assert two.distortion[:5] == (-0.2, 0.05, 0.001, -0.002, 0) and not two.fisheye
    assert three.fisheye and three.distortion == (0.1, 0.2, 0.3, 0.4)
    assert four.camera((3072, 2304)).distortion == ()
    assert five.distortion == (0.1, 0.02, 0.003, 0.004, 0.05, 0.06, 0.07, 0.08)
    for line, message in (
        ("1 THIN_PRISM_FISHEYE 9 9 1", "of the model 'THIN_PRISM_FISHEYE'; known: SIMPLE_PINHOLE"),
        ("1 PINHOLE 1920 1080 1500 1500 960", "camera 1 has 5 numbers; expected size and fx fy x y"),
        ("1 PINHOLE 1920 1080 a b c d", "not made of numbers"),
        ("hello", "of the model ''"),
    ):
        path.write_text(line)
        with pytest.raises(ValueError, match=f"cameras.txt: .*{message}"):
            read_calibration(path)


def test_colmap_names_the_images(tmp_path):
    (tmp_path / "cameras.txt").write_text(COLMAP)
    (tmp_path / "images.txt").write_text(
        "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n"
        "1 1 0 0 0 0.1 0.2 0.3 2 left/IMG_0001.jpg\n100.5 200.5 -1 300 400 17 1 2 3 4.5 5 6\n"
        "2 1 0 0 0 0.1 0.2 0.3 4 my photo 2.jpg\n\n"
    )
    cameras = read_calibration(tmp_path / "cameras.txt")
    assert choose_camera(cameras, "x/IMG_0001.jpg").name == "2"
    assert choose_camera(cameras, "my photo 2.jpg").name == "4"
    # Photos are numbered too: the third is not of the third camera.
    with pytest.raises(ValueError, match="which of the cameras 1, 2, 3, 4, 5 is it"):
        choose_camera(cameras, "IMG_0003.jpg")
    assert [camera.name for camera in read_camera(f"{tmp_path / 'cameras.txt'}:3")] == ["3"]


class TestResolutions:
    def camera(self, tmp_path, **values):
        (tmp_path / "a.json").write_text(json.dumps({"K": MATRIX.tolist(), **values}))
        return read_calibration(tmp_path / "a.json")[0]

    def test_other_resolutions_are_scaled(self, tmp_path):
        """A pixel's centre is at a whole number: that of the image's middle stays there."""
        half = self.camera(tmp_path, size=HD, distortion=LENS).camera((960, 540))
        assert half.focal == (750, 745) and half.size == (960, 540) and half.distortion == LENS
        np.testing.assert_allclose(half.principal_point, (480.25, 269.25))
        # What half a picture shows at a place, the whole one shows at the same place.
        whole = self.camera(tmp_path, size=HD, distortion=LENS).camera(HD)
        at = np.array([[100.0, 40.0]])
        flat = half.undistort((at + 0.5) / 2 - 0.5)
        np.testing.assert_allclose(flat, (whole.undistort(at) + 0.5) / 2 - 0.5, atol=1e-6)

    def test_a_difference_of_one_pixel_is_accepted(self, tmp_path):
        found = self.camera(tmp_path, size=HD).camera((1920, 1079))
        assert found.focal == (1500, 1490) and found.size == (1920, 1079)

    @pytest.mark.parametrize(
        ("size", "message"),
        [((1080, 1920), "another shape; it is turned"), ((1440, 1080), "cannot be scaled to 1440 x 1080")],
    )
    def test_other_shapes_are_refused(self, tmp_path, size, message):
        with pytest.raises(ValueError, match=f"calibrated with images of 1920 x 1080 px.*{message}"):
            self.camera(tmp_path, size=HD).camera(size)

    def test_without_a_size_it_must_fit(self, tmp_path):
        camera = self.camera(tmp_path)
        assert camera.camera(HD).focal == (1500, 1490)
        for size in ((960, 540), (3840, 2160), (1080, 1920)):
            with pytest.raises(ValueError, match="of about 1922 x 1078 px. The file does not state a size"):
                camera.camera(size)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "not readable JSON"),
        ("a.json", "[1]", "expected names and values"),
        ("a.json", '{"size": [4, 4]}', "no camera matrix in it; expected one of K, camera_matrix"),
        ("a.json", '{"K": [[1, 0], [0, 1]]}', "K of the camera is .*expected finite"),
        ("a.json", '{"K": [[900, 0, 9], [0, NaN, 9], [0, 0, 1]]}', "expected finite numbers"),
        ("a.json", '{"K": [[900, 0, 9], [0, -900, 9], [0, 0, 1]]}', "focal length must be positive"),
        ("a.json", f'{{"K": [[1{400 * "0"}, 0, 9], [0, 9, 9], [0, 0, 1]]}}', "not made of numbers"),
        ("a.json", '{"K": [[9, 0, 9], [0, 9, 9], [0, 0, 1]], "distortion_model": {}}', "is not known"),
        ("a.json", '{"K": [[900, 5, 9], [0, 900, 9], [0, 0, 1]]}', "skew"),
        ("a.json", '{"K": [[9, 0, 9], [0, 9, 9], [0, 0, 1]], "D": [1, 2, 3]}', "got 3 distortion"),
        ("a.json", '{"K": [[9, 0, 9], [0, 9, 9], [0, 0, 1]], "size": [0, 4]}', "image size must be positive"),
        ("a.json", '{"K": [[9, 0, 9], [0, 9, 9], [0, 0, 1]], "size": 4}', "size of the camera"),
        ("a.yml", "%YAML:1.0\n---\na: [", "not a readable YAML file"),
        ("a.yml", "!!python/object/apply:os.system [ls]", "not a readable YAML file"),
        ("a.npz", "", "not a calibration; known:"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        read_calibration(tmp_path / name)


def test_what_is_not_a_file_of_the_format(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_calibration(tmp_path / "a.json")
    (tmp_path / "a.yml").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"a\.yml: not a text file"):
        read_calibration(tmp_path / "a.yml")


class TestChoice:
    """Of several cameras, by the name of the image or of the camera."""

    def test_by_name_or_number(self, toml):
        cameras = read_calibration(toml)
        assert choose_camera(cameras, "trial/cam_02.mp4").name == "cam_02"
        assert choose_camera(cameras, "/a/CAM_03.MP4").name == "cam_03"
        assert choose_camera(cameras, "jump_cam1.avi").name == "cam_01"
        assert choose_camera(cameras[:1], "whatever.jpg").name == "cam_01"
        for name in ("jump.mp4", "cam_04.mp4", ""):
            with pytest.raises(ValueError, match="which of the cameras cam_01, cam_02, cam_03 is it"):
                choose_camera(cameras, name)

    def test_file_and_name(self, toml):
        assert [camera.name for camera in read_camera(f"{toml}:cam_02")] == ["cam_02"]
        assert len(read_camera(toml)) == 3
        with pytest.raises(ValueError, match=r"Calib\.toml: no camera 'left' in it; there are cam_01"):
            read_camera(f"{toml}:left")
        with pytest.raises(FileNotFoundError):
            read_camera(f"{toml}x:left")

    def test_options(self, toml):
        options = CameraOptions(calibration=read_camera(toml))
        assert options.camera(SIZE, "x/cam_01.png").source == "calibration"
        with pytest.raises(ValueError, match="give only one of"):
            CameraOptions(focal=900, calibration=read_camera(toml))


def test_vertical_field_of_view():
    camera = CameraOptions(vertical_fov=50).camera(HD)
    assert camera.fov[1] == pytest.approx(50) and camera.focal[0] == camera.focal[1]
    with pytest.raises(ValueError, match="between 0 and 180"):
        CameraOptions(vertical_fov=200)
