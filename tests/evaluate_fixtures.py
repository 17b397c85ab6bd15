from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from synthetic_smpl import synthetic_smpl, write_npz

from fullframe.body import load_body
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.sample import Sample
from fullframe.evaluate.predictions import Predictions
from fullframe.geometry.camera import Camera
from fullframe.models import create_model, save_checkpoint
from fullframe.models.predict import Bodies as Predicted

FACING = np.diag([1.0, -1.0, -1.0])

# Where the joints of other sets lie on the made-up SMPL, by the joint of smpl24 whose ball they are in.
_NEAREST = {
    "spine": "spine1", "jaw": "head", "head": "head", "head_top": "head", "thorax": "spine3", "nose": "head",
    "left_eye": "head", "right_eye": "head", "left_ear": "head", "right_ear": "head",
}  # fmt: skip
_EXTRA = ("right_hip", "left_hip", "neck", "head_top", "pelvis", "thorax", "spine", "jaw", "head")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A small network with random weights that predicts the open body."""
    return _random_checkpoint(tmp_path_factory.mktemp("weights") / "random.safetensors", "open", 11)


@pytest.fixture(scope="session")
def smpl_checkpoint(tmp_path_factory) -> Path:
    """The same for SMPL."""
    path = tmp_path_factory.mktemp("weights") / "random-smpl.safetensors"
    return _random_checkpoint(path, "smpl-neutral", 10)


def _random_checkpoint(path: Path, body: str, num_betas: int) -> Path:
    torch.manual_seed(0)
    model = create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=num_betas)
    save_checkpoint(model, path, body=body, data="nothing", licence="none", metrics={})
    return path


@pytest.fixture(scope="session")
def _smpl_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("smpl")
    for seed, name in enumerate(("NEUTRAL", "MALE", "FEMALE")):
        arrays = synthetic_smpl(seed=seed)
        write_npz(folder / f"SMPL_{name}.npz", arrays)
    owner = np.arange(6890) % 24

    def rows(names: tuple[str, ...]) -> np.ndarray:
        smpl24 = JOINT_SETS["smpl24"].names
        balls = [owner == smpl24.index(_NEAREST.get(name, name)) for name in names]
        return np.stack([ball / ball.sum() for ball in balls])

    np.save(folder / "J_regressor_h36m.npy", rows(JOINT_SETS["h36m17"].names))
    np.save(folder / "J_regressor_extra.npy", rows(_EXTRA))
    template = synthetic_smpl()["v_template"]
    np.save(folder / "smpl_kid_template.npy", 0.6 * template + 3.0)
    return folder


@pytest.fixture
def smpl(_smpl_files, monkeypatch) -> Path:
    """A folder with made-up SMPL files where fullframe looks for them."""
    monkeypatch.setattr("fullframe.body.files.SMPL_FOLDER", _smpl_files)
    monkeypatch.setattr("fullframe.body.body_model.SMPL_FOLDER", _smpl_files)
    return _smpl_files


@pytest.fixture(scope="session")
def make_people() -> Callable[..., list[Sample]]:
    """make_people(number, body="open", seed=0, image=False): people about 4 m away, with all labels."""
    return _people


def _people(number: int, body: str = "open", seed: int = 0, image: bool = False) -> list[Sample]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    num_betas = 11 if body == "open" else 10
    model = load_body(body, num_betas=num_betas)
    camera = Camera.from_focal(300, (200, 160))
    samples = []
    for i in range(number):
        axes = torch.from_numpy(rng.normal(0, 0.2, (24, 3)))
        pose = roma.rotvec_to_rotmat(axes).numpy().astype(np.float32)
        pose[0] = FACING @ pose[0]
        betas = rng.normal(0, 0.5, num_betas).astype(np.float32)
        translation = np.array([rng.uniform(-0.5, 0.5), 0.3, rng.uniform(3, 5)], np.float32)
        out = model(*(torch.from_numpy(x[None]) for x in (betas, pose, translation)))
        joints = {name: model.regress(out.vertices, name)[0].numpy() for name in ("coco17", "lsp14", "j24")}
        joints["smpl24"] = out.joints[0].numpy()
        keypoints = {}
        for name, points in joints.items():
            pixels = points[:, :2] / points[:, 2:] * 300 + (100, 80)
            keypoints[name] = np.concatenate((pixels, np.ones((len(points), 1))), axis=1).astype(np.float32)
            joints[name] = np.concatenate((points, np.ones((len(points), 1))), axis=1).astype(np.float32)
        pixels = keypoints["smpl24"][:, :2]
        samples.append(
            Sample(
                rng.integers(0, 256, (160, 200, 3), dtype=np.uint8) if image else "",
                camera,
                np.concatenate((pixels.min(axis=0), pixels.max(axis=0))),
                keypoints=keypoints,
                joints=joints,
                pose=pose,
                betas=betas,
                translation=translation,
                body=body,
                name=f"clip{i // 4}/{i // 2}.jpg#{i % 2}",
                sequence=f"clip{i // 4}",
                frame=i // 2,
            )
        )
    return samples


@pytest.fixture(scope="session")
def perfect() -> Callable[[list[Sample]], Predictions]:
    """perfect(samples): predictions that are the truth."""

    def make(samples: list[Sample]) -> Predictions:
        arrays = ([getattr(s, name) for s in samples] for name in ("pose", "betas", "translation"))
        return Predictions.of(samples, Predicted(*(np.stack(each) for each in arrays)))

    return make
