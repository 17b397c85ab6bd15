"""Protocols on tiny data sets in the real formats: from files to numbers."""

from pathlib import Path

import dataset_files as files
import numpy as np
import pytest
import torch

from fullframe.body import load_body
from fullframe.evaluate.benchmark import evaluate_model
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.models.predict import Bodies

THREEDPW = (540, 960)


def clip(gender: str, frames: int, intrinsics: np.ndarray, seed: int = 0) -> files.Clip:
    """In front of a camera that stands still in the world."""
    rng = np.random.default_rng(seed)
    still = np.tile(np.eye(4), (frames, 1, 1))
    return files.make_clip(load_body(f"smpl-{gender}"), gender, frames, intrinsics, rng, still)


@pytest.fixture
def threedpw(smpl, tmp_path) -> Path:
    k = files.matrix(980.0, *THREEDPW)
    for split, name in (
        ("test", "downtown_walking_00"),
        ("train", "flat_guitar_01"),
        ("validation", "x_y_0"),
    ):
        content = files.threedpw_content(name, [clip("male", 3, k)], [np.array([1, 0, 1])])
        files.write_threedpw(tmp_path / "3dpw", split, content, THREEDPW)
    return tmp_path / "3dpw"


@pytest.fixture
def emdb(smpl, tmp_path) -> Path:
    k = files.matrix(1400.0, 1440, 1920)
    for folder, emdb1 in (("P0/00_a", True), ("P1/01_b", False)):
        content = files.emdb_content(folder, clip("female", 6, k), np.array([1, 1, 0, 1, 1, 1], bool), emdb1)
        files.write_emdb(tmp_path / "emdb", folder, content)
        for frame in range(6):
            name = f"{frame:05d}.jpg"
            files.write_image(tmp_path / "emdb" / folder / "images" / name, (1440, 1920))
    return tmp_path / "emdb"


@pytest.fixture
def agora(smpl, tmp_path) -> Path:
    """An image of the camera "hdri" with two people, of whom the first is hidden."""
    root, name = tmp_path / "agora", "ag_validationset_a_hdri_50mm_00001.png"
    made = [clip("neutral", 1, np.eye(3), seed) for seed in (0, 1)]
    fits = [f"smpl_gt/set/person_{i}.obj" for i in (0, 1)]
    joints, pixels = [], []
    for fit, person in zip(fits, made, strict=True):
        person.translation[:] = 0
        local = files.pose_body(load_body("smpl-neutral"), person.betas, person.pose, person.translation)[0]
        # With Yaw 90 the scan is not turned; it stands 7 m ahead, at the height of the camera.
        joints.append(local * [1, -1, -1] + [0, 0, 7])
        pixels.append(
            files.project(joints[-1], np.array([[5333.3333, 0, 1920], [0, 5333.3333, 1080], [0, 0, 1]]))
        )
        files.write_pickle(
            (root / fit).with_suffix(".pkl"),
            {
                "root_pose": person.pose[:, :3], "body_pose": person.pose[:, 3:],
                "translation": person.translation, "betas": person.betas[None],
            },
        )  # fmt: skip
    row = {
        "imgPath": name, "X": [700.0] * 2, "Y": [0.0] * 2, "Z": [170.0] * 2, "Yaw": [90.0] * 2,
        "camX": 0.0, "camY": 0.0, "camZ": 0.0, "camYaw": 0.0, "gender": ["male"] * 2, "kid": [False] * 2,
        "occlusion": [95.0, 10.0], "isValid": [True] * 2, "gt_path_smpl": fits,
        "gt_joints_2d": pixels, "gt_joints_3d": joints,
    }  # fmt: skip
    files.write_table(
        root / "frames/validation_0_withjv.pkl", {k: [v] for k, v in row.items()}, since_1_3=True
    )
    files.write_image(root / "images/validation" / name, (1280, 720))
    return root


@pytest.fixture
def mpi_inf_3dhp(tmp_path) -> Path:
    pytest.importorskip("h5py")
    k = files.matrix(300.0, 256, 256)
    for number in range(1, 7):
        joints = np.random.default_rng(number).uniform(-0.5, 0.5, (2, 17, 3))
        joints[..., 2] += 4
        folder = tmp_path / "3dhp/mpi_inf_3dhp_test_set" / f"TS{number}"
        files.write_3dhp_test(folder, joints, k, [1, int(number > 3)], (256, 256))
    return tmp_path / "3dhp"


@pytest.fixture
def h36m_list(tmp_path) -> Path:
    """SPIN's list for protocol 2."""
    root = tmp_path / "h36m"
    rng = np.random.default_rng(0)
    joints = np.zeros((2, 24, 4))
    joints[..., :3] = rng.uniform(-0.5, 0.5, (2, 24, 3))
    joints[:, [*range(13), 14, 16, 17, 18], 3] = 1
    images = [f"images/S9_Walking.60457274_{frame:06d}.jpg" for frame in (1, 6)]
    for image in images:
        files.write_image(root / image, (1000, 1002))
    np.savez(
        root / "h36m_valid_protocol2.npz",
        imgname=images, center=np.full((2, 2), 500.0), scale=np.full(2, 3.0), S=joints,
    )  # fmt: skip
    return root


@pytest.mark.parametrize(
    ("benchmark", "number", "body"),
    [
        ("3dpw", 2, "smpl-male"),
        ("3dpw-occ", 2, "smpl-male"),
        ("emdb", 5, "smpl-female"),
        ("agora", 1, "smpl-neutral"),
    ],
)
def test_the_truth_of_the_files_has_no_error(benchmark, number, body, request, perfect):
    root = request.getfixturevalue(benchmark.removesuffix("-occ").replace("3dpw", "threedpw"))
    samples = PROTOCOLS[benchmark].open(root)
    predictions = perfect([samples[i] for i in range(len(samples))])
    assert len(predictions) == number
    values = PROTOCOLS[benchmark].measure(predictions, BodyCache(body)).values
    errors = {name: value for name, value in values.items() if name.endswith((" mm", " deg"))}
    assert len(errors) >= 4
    np.testing.assert_allclose([*errors.values()], 0, atol=5e-3)
    if benchmark == "agora":
        assert values["F1"] == 1


def test_agora_measures_in_the_camera(agora):
    """True joints of the data frame are those of the posed truth, where the reader puts it."""
    sample = PROTOCOLS["agora"].open(agora)[0]
    posed = load_body("smpl-neutral")
    given = (torch.from_numpy(getattr(sample, name)[None]) for name in ("betas", "pose", "translation"))
    np.testing.assert_allclose(posed(*given).joints[0], sample.joints["smpl24"][:, :3], atol=1e-4)


@pytest.mark.parametrize(
    ("benchmark", "fixture", "number"), [("mpi-inf-3dhp", "mpi_inf_3dhp", 9), ("h36m-p2", "h36m_list", 2)]
)
def test_joints_of_the_files_are_all_measured(benchmark, fixture, number, request):
    samples = PROTOCOLS[benchmark].open(request.getfixturevalue(fixture))
    people = [samples[i] for i in range(len(samples))]
    pose = np.tile(np.eye(3, dtype=np.float32), (len(people), 24, 1, 1))
    found = Bodies(pose, np.zeros((len(people), 10), np.float32), np.zeros((len(people), 3), np.float32))
    scores = PROTOCOLS[benchmark].measure(Predictions.of(people, found), BodyCache("open"))
    measured = next(values for name, values in scores.people.items() if not np.isnan(values).all())
    assert np.isfinite(measured).sum() == len(people) == number


def test_h36m_reads_raw_files_where_there_is_no_list(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "fullframe.evaluate.protocols.h36m.H36M",
        lambda root, split, cameras: asked.append((root, split, cameras)),
    )
    PROTOCOLS["h36m-p1"].open(tmp_path)
    PROTOCOLS["h36m-p2"].open(tmp_path)
    assert [a[:2] for a in asked] == [(tmp_path, "test")] * 2
    assert len(asked[0][2]) == 4 and asked[1][2] == ("60457274",)


@pytest.mark.parametrize(
    ("benchmark", "fixture"), [("3dpw", "threedpw"), ("agora", "agora"), ("h36m-p2", "h36m_list")]
)
def test_a_network_is_measured_from_files(benchmark, fixture, request, smpl, smpl_checkpoint, tmp_path):
    report = evaluate_model(benchmark, smpl_checkpoint, request.getfixturevalue(fixture), tmp_path / "out")
    values = report.scores.values
    known = [value for name, value in values.items() if name.startswith(("MPJPE", "PA-MPJPE"))]
    assert np.isfinite(known).any()
    assert (tmp_path / "out" / "submission.zip").exists() == (benchmark == "agora")
    assert (tmp_path / "out" / "worst.jpg").is_file()
    assert "CLIFF" in report.markdown()
