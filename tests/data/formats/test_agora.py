from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from dataset_files import pose_body, project, write_image, write_pickle, write_table

from fullframe.data.formats.agora import AGORA

RNG = np.random.default_rng(2)
ARCHVIZ = "ag_validationset_renderpeople_bfh_archviz_5_10_cam00_00001.png"
FLOWERS = "ag_validationset_renderpeople_flowers_5_15_00002.png"
HDRI = "ag_validationset_axyz_hdri_50mm_5_15_00003.png"


def rotation(axis: int, degrees: float) -> np.ndarray:
    return cv2.Rodrigues(np.radians(degrees) * np.eye(3)[axis])[0]


def reference(points, position, yaw, focal_mm, camera, camera_yaw, pitch, ground=0.0):
    """AGORA's published transformation, step by step: points (K, 3) m, positions in Unreal's axes, cm."""

    def unreal(p):
        return np.array([p[1], -p[2], p[0]]) / 100

    points = points * [1, -1, -1] @ rotation(1, yaw - 90).T + unreal(position)
    points = points - (unreal(camera) - np.array([0, ground, 0]))
    points = points @ rotation(1, -camera_yaw).T @ rotation(0, pitch).T
    focal = focal_mm / 36 * 3840
    return points, project(points, np.array([[focal, 0, 1920], [0, focal, 1080], [0, 0, 1]]))


# Where scans of each image stand, and its view.
SCENES = {
    ARCHVIZ: ([(-150.0, 60.0, 0.0), (-220.0, 180.0, 0.0)], (18, (400, -275, 265), 135, 30)),
    FLOWERS: ([(900.0, 40.0, 10.0)], (28, (100.0, -30.0, 170.0), 12.5, 0, 1.7)),
    HDRI: ([(700.0, -80.0, 5.0), (900.0, 90.0, 0.0)], (50, (0, 0, 170), 0, 0)),
}


@pytest.fixture(scope="module")
def truth(bodies):
    """For each image: what its people are, in AGORA's terms."""
    people: dict[str, list[dict]] = {}
    for name, (positions, view) in SCENES.items():
        people[name] = []
        for number, position in enumerate(positions):
            betas, pose = (
                RNG.normal(size=(1, 11)).astype(np.float32),
                RNG.normal(0, 0.3, (1, 72)).astype(np.float32),
            )
            translation = RNG.normal((0, 1, 0), 0.1, (1, 3)).astype(np.float32)
            kid = number == 1
            if kid:  # any body will do here: the fit's own joints tell where its pelvis is
                betas[0, 10] = 0.6
            local = pose_body(bodies["neutral"], betas[:, :10], pose, translation)[0]
            if kid:
                local += [0, 0.05, 0]  # the kid template moves the pelvis
            yaw = float(RNG.uniform(-180, 180))
            joints, pixels = reference(local, position, yaw, *view)
            people[name].append(
                {"betas": betas if kid else betas[:, :10], "pose": pose, "translation": translation,
                 "kid": kid, "yaw": yaw, "position": position, "joints": joints, "pixels": pixels}
            )  # fmt: skip
    return people


def write(root: Path, truth, since_1_3=True, size=(384, 216), suffix="") -> Path:
    columns: dict[str, list] = {
        "imgPath": [], "X": [], "Y": [], "Z": [], "Yaw": [], "camX": [], "camY": [], "camZ": [], "camYaw": [],
        "gender": [], "kid": [], "occlusion": [], "isValid": [], "age": [], "gt_path_smpl": [],
        "gt_path_smplx": [], "gt_joints_2d": [], "gt_joints_3d": [], "gt_verts": [],
    }  # fmt: skip
    for name, people in truth.items():
        _, view = SCENES[name]
        fits = [f"smpl_gt/validationset_renderpeople/{Path(name).stem}_{i}.obj" for i in range(len(people))]
        for fit, person in zip(fits, people, strict=True):
            tensor = torch.tensor(person["betas"], requires_grad=True)
            content = {
                "root_pose": torch.from_numpy(person["pose"][None, :, :3]),
                "body_pose": torch.nn.Parameter(torch.from_numpy(person["pose"][:, 3:].reshape(1, 23, 3))),
                "translation": person["translation"],
                "betas": tensor,
                "gender": "male",
            }
            write_pickle((root / fit).with_suffix(".pkl"), content, protocol=2)
        extra = RNG.normal(size=(21, 3))  # smplx adds points of the face and hands
        row = {
            "imgPath": name,
            "X": [p["position"][0] for p in people],
            "Y": [p["position"][1] for p in people],
            "Z": [p["position"][2] for p in people],
            "Yaw": [p["yaw"] for p in people],
            "camX": float(view[1][0]),
            "camY": float(view[1][1]),
            "camZ": float(view[1][2]),
            "camYaw": float(view[2]),
            "gender": ["male"] * len(people),
            "kid": [p["kid"] for p in people],
            "occlusion": [95.0, 12.5][: len(people)],
            "isValid": [True] * len(people),
            "age": ["31-50"] * len(people),
            "gt_path_smpl": fits,
            "gt_path_smplx": fits,
            "gt_joints_2d": [np.concatenate((p["pixels"], extra[:, :2])) for p in people],
            "gt_joints_3d": [np.concatenate((p["joints"], extra)).astype(np.float32) for p in people],
            "gt_verts": [np.zeros((6890, 3), np.float32) for _ in people],
        }
        for key, value in row.items():
            columns[key].append(value)
        write_image(root / "images/validation" / f"{Path(name).stem}{suffix}.png", size)
    write_table(root / "frames/validation_0_withjv.pkl", columns, since_1_3)
    return root


@pytest.mark.parametrize("since_1_3", [False, True])
def test_people(truth, tmp_path: Path, since_1_3: bool, bodies) -> None:
    data = AGORA(write(tmp_path, truth, since_1_3))
    assert [sample.name for sample in data] == [f"{n}#{i}" for n, p in truth.items() for i in range(len(p))]
    assert data.occlusion.tolist() == [95, 12.5, 95, 95, 12.5]
    assert data.valid.tolist() == [False, True, False, False, True]
    people = [person for group in truth.values() for person in group]
    for sample, person in zip(data, people, strict=True):
        assert sample.camera.size == (3840, 2160) and sample.body == "smpl-neutral"
        np.testing.assert_allclose(sample.joints["smpl24"][:, :3], person["joints"], atol=1e-5)
        np.testing.assert_allclose(sample.keypoints["smpl24"][:, :2], person["pixels"], atol=1e-2)
        # The camera that is put together from AGORA's table shows the joints at their pixels.
        pixels = project(sample.joints["smpl24"][:, :3].astype(float), sample.camera.intrinsics)
        np.testing.assert_allclose(pixels, person["pixels"], atol=0.02)
        np.testing.assert_allclose(sample.box, [*pixels.min(0), *pixels.max(0)], atol=0.02)
        assert sample.kid == pytest.approx(0.6 if person["kid"] else 0) and sample.betas.shape == (10,)
        # SMPL with the sample's parameters has its joints there.
        arrays = (torch.from_numpy(a)[None] for a in (sample.betas, sample.pose, sample.translation))
        posed = bodies["neutral"](*arrays).joints[0].numpy()
        if person["kid"]:  # a body without the kid template lies where its own pelvis is
            posed += sample.joints["smpl24"][0, :3] - posed[0]
        np.testing.assert_allclose(posed, person["joints"], atol=3e-5)


def test_the_smaller_images(truth, tmp_path: Path) -> None:
    sample = AGORA(write(tmp_path, truth, size=(1280, 720), suffix="_1280x720"))[0]
    assert Path(sample.image).name == f"{Path(ARCHVIZ).stem}_1280x720.png"
    assert sample.window == (1, 1, 3) and sample.camera.size == (3840, 2160)


def test_missing_and_wrong_files(truth, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"images/validation is missing.*agora.is.tue.mpg.de"):
        AGORA(tmp_path)
    root = write(tmp_path, truth)
    with pytest.raises(FileNotFoundError, match=r"images/train is missing"):
        AGORA(root, "train")
    fit = root / f"smpl_gt/validationset_renderpeople/{Path(ARCHVIZ).stem}_0.pkl"
    fit.rename(fit.with_suffix(".old"))
    data = AGORA(root)
    with pytest.raises(FileNotFoundError, match=rf"{fit.name} is missing.*agora"):
        data[0]
    write_pickle(fit, {"betas": np.zeros((1, 10))})
    with pytest.raises(ValueError, match=rf"{fit.name}: not an SMPL fit of AGORA, it lacks root_pose"):
        data[0]
    zeros = {
        "global_orient": np.zeros(3),
        "transl": np.zeros(3),
        "body_pose": np.zeros(63),
        "betas": np.zeros(10),
    }
    write_pickle(fit, zeros)
    with pytest.raises(ValueError, match="body_pose has 63 values, expected 69"):
        data[0]
    frames = root / "frames/validation_0_withjv.pkl"
    expressive = {ARCHVIZ: [p | {"joints": np.zeros((106, 3))} for p in truth[ARCHVIZ]]}
    write(root, expressive)
    with pytest.raises(ValueError, match=r"withjv.pkl: 127 joints are not SMPL's"):
        AGORA(root)
    write_table(frames, {"imgPath": [ARCHVIZ], "X": [[1.0]]}, True)
    with pytest.raises(ValueError, match=r"withjv.pkl: lacks camX, .*use the data frames with SMPL joints"):
        AGORA(root)
    write_pickle(frames, {"imgPath": []})
    with pytest.raises(ValueError, match=r"withjv.pkl: the pickle does not hold a table of pandas"):
        AGORA(root)
