"""Labels: bodies for many photos, with scores of their quality."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.annotate.crops import Crops
from fullframe.annotate.photo_people import Annotations
from fullframe.body import JOINT_SETS, BodyModel
from fullframe.body.joint_sets import convert_joint_set
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.data.formats.placement import rotation_vectors
from fullframe.fit.prior import PosePrior
from fullframe.geometry.box import LABEL_ENLARGE, box_from_xyxy
from fullframe.geometry.camera import MAX_PIXELS, MAX_SIDE, Camera
from fullframe.geometry.rotation import matrix_to_rotvec
from fullframe.io.atomic import load_npz, save_npz, write_npz
from fullframe.models.predict import Bodies
from fullframe.recovery.plausibility import MAX_REPROJECTION, MIN_KEYPOINTS, agrees, reprojection_error
from fullframe.results.checks import INTEGER, PERSON, Array, check_arrays, check_texts
from fullframe.results.people import CONVENTIONS, People

_BATCH_SIZE = 256
_MEANING = {
    **{key: CONVENTIONS[key] for key in ("axes", "units", "boxes", "pose", "betas", "translation")},
    "keypoints": "of the joint set named here: x, y px and confidence 0 to 1; what the bodies were fitted to",
    "reprojection": "root mean square distance of keypoints and body, units of the box's longer side",
    "prior": "negative log-likelihood of the pose up to a constant: the higher, the less likely",
    "agreement": "mean distance to the joints of the network's initial prediction, roots aligned, mm",
    "reliable": f"at least {MIN_KEYPOINTS} keypoints known, reprojection at most {MAX_REPROJECTION}",
}


@dataclass
class Labels:
    """N labelled people; those of one photo stand one after another.

    Attributes:
        photos: (N,) names of photos, relative to their folder.
        ids: (N,) int64 of the annotations.
        boxes: (N, 4) float32 x1, y1, x2, y2 px.
        keypoints: (N, K, 3) float32 x, y px and confidence, that the bodies were fitted to.
        pose: (N, 24, 3, 3) float32 rotations, the root's in the camera frame.
        betas: (N, B) float32.
        translation: (N, 3) float32 metres, camera frame.
        focal, principal_point: (N, 2) float64 px.
        sizes: (N, 2) int64 width, height px of the photos.
        sources: (N,) the source of each camera, as Camera.source.
        reprojection: (N,) float32 root mean square distance of keypoints and body in units of the box's
            longer side; NaN without keypoints.
        prior: (N,) float32 energy of the pose prior, 0 for the most likely pose.
        agreement: (N,) float32 mm, mean distance to the joints of the initial prediction with roots aligned;
            NaN without one.
        reliable: (N,) bool: at least MIN_KEYPOINTS, and reprojection at most MAX_REPROJECTION.
        joint_set: of the keypoints.
        body: name of the body that pose, betas and translation belong to.
        model: network and method that made the labels.
    """

    photos: NDArray[np.str_]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    pose: NDArray[np.float32]
    betas: NDArray[np.float32]
    translation: NDArray[np.float32]
    focal: NDArray[np.float64]
    principal_point: NDArray[np.float64]
    sizes: NDArray[np.int64]
    sources: NDArray[np.str_]
    reprojection: NDArray[np.float32]
    prior: NDArray[np.float32]
    agreement: NDArray[np.float32]
    reliable: NDArray[np.bool_]
    joint_set: str
    body: str
    model: str

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Labels":
        """A copy of some of the people: indices or a mask."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return Labels(**{name: v if name in _HEADER else v[index] for name, v in values.items()})

    @property
    def visible(self) -> NDArray[np.int64]:
        """(N,) the number of visible keypoints."""
        return (self.keypoints[..., 2] > 0).sum(axis=1)

    def camera(self, index: int) -> Camera:
        """Of the photo that the person is in."""
        return Camera.from_dict(
            {
                "focal": self.focal[index],
                "principal_point": self.principal_point[index],
                "size": self.sizes[index],
                "source": str(self.sources[index]),
            }
        )

    def people(self, photo: str, body: BodyModel) -> People:
        """The labelled people of a photo, for renderers and exporters.

        Raises:
            KeyError: there are none.
            ValueError: the labels are of another body.
        """
        if body.name != self.body:
            raise ValueError(f"these are labels of the body {self.body}, not of {body.name}")
        some = np.flatnonzero(self.photos == photo)
        if not len(some):
            raise KeyError(f"no labelled people in {photo!r}")
        return People.posed(
            body,
            boxes=self.boxes[some],
            scores=self.reliable[some].astype(np.float32),
            track_ids=np.arange(len(some)),
            keypoints=convert_joint_set(self.keypoints[some], self.joint_set, "coco17"),
            pose=self.pose[some],
            betas=self.betas[some],
            translation=self.translation[some],
            camera=self.camera(int(some[0])),
            model=self.model,
            image=photo,
        )

    def save(self, path: Path) -> None:
        """Write one .npz that `load` reads back without loss, and numpy alone can read."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        header = {name: arrays.pop(name) for name in _HEADER} | {"conventions": _MEANING}
        save_npz(path, arrays, header)

    @classmethod
    def load(cls, path: Path) -> "Labels":
        """Read what `save` wrote.

        Raises:
            ValueError: the file is something else, holds impossible numbers, or names photos outside of
                their folder; the message names the file and the array.
        """
        with load_npz(path, "a file of labels") as values:
            check_texts(values, _HEADER)
            if values["joint_set"] not in JOINT_SETS:
                raise ValueError(f"joint_set {values['joint_set'][:100]!r} is unknown")
            check_arrays(values, LABEL_ARRAYS)
            lengths = {name: len(values[name]) for name in LABEL_ARRAYS}
            if len(set(lengths.values())) > 1:
                raise ValueError(f"its arrays are not of the same people: {lengths}")
            points = len(JOINT_SETS[values["joint_set"]].names)
            if values["keypoints"].shape[1] != points:
                raise ValueError(
                    f"keypoints has {values['keypoints'].shape[1]} points, {values['joint_set']} {points}"
                )
            if len(np.unique(values["ids"])) < len(values["ids"]):
                raise ValueError("ids holds an id twice")
            for photo in np.unique(values["photos"]).tolist():
                _check_inside(photo)
            return cls(**{field.name: values[field.name] for field in fields(cls)})


def _check_inside(photo: str) -> None:
    """Raises ValueError for the name of a photo that leaves its folder."""
    name = PurePath(photo)
    if name.anchor or ".." in name.parts or not name.parts or "\0" in photo:
        raise ValueError(f"photos: {photo[:100]!r} is outside of the folder of photos")


_HEADER = ("joint_set", "body", "model")
_SCORE = Array(np.float32, (-1,), -1e9, 1e9, nan=True)
LABEL_ARRAYS = {
    **PERSON,
    "photos": Array(np.str_, (-1,)),
    "ids": Array(np.int64, (-1,), *INTEGER),
    "focal": Array(np.float64, (-1, 2), 1e-3, MAX_PIXELS),
    "principal_point": Array(np.float64, (-1, 2), -MAX_PIXELS, MAX_PIXELS),
    "sizes": Array(np.int64, (-1, 2), 1, MAX_SIDE),
    "sources": Array(np.str_, (-1,)),
    "reprojection": _SCORE,
    "prior": _SCORE,
    "agreement": _SCORE,
    "reliable": Array(np.bool_, (-1,)),
}
"""What the arrays in a file of labels may hold."""


class FitScores(NamedTuple):
    """Of N bodies against 2D keypoints.

    Attributes:
        reprojection, prior: (N,) float32, as in Labels.
        pixels: (N, K, 2) the bodies' keypoints in the photo, px.
        joints: (N, 24, 3) of the bodies before translation, metres.
    """

    reprojection: NDArray[np.float32]
    prior: NDArray[np.float32]
    pixels: NDArray[np.float64]
    joints: torch.Tensor


def score(
    model: KeypointRegressor,
    prior: PosePrior,
    bodies: Bodies,
    keypoints: NDArray[np.float32],
    boxes: NDArray[np.float32],
    focal: NDArray[np.float64],
    principal_point: NDArray[np.float64],
) -> FitScores:
    """Reprojection errors of N bodies to their keypoints (N, K, 3), and likelihoods of their poses.

    Args:
        model: of the bodies and the keypoints' joint set.
        boxes: (N, 4) x1, y1, x2, y2 px.
        focal, principal_point: (N, 2) px.
    """
    state, rotvec = _state(model, bodies)
    points = state.keypoints.numpy() + bodies.translation[:, None]
    seen = points[..., :2] / np.maximum(points[..., 2:], 0.1)
    pixels = seen * focal[:, None] + principal_point[:, None]
    reprojection = reprojection_error(pixels, keypoints, keypoints[..., 2] > 0, boxes)
    return FitScores(reprojection, prior.energy(rotvec)[0].numpy(), pixels, state.joints)


def score_labels(
    crops: Crops,
    annotations: Annotations,
    bodies: Bodies,
    initial: Bodies | None,
    body: BodyModel,
    model: str,
) -> Labels:
    """Labels with their quality.

    Args:
        crops: the N people.
        annotations: that the crops were made from.
        bodies: of the N people.
        initial: the network's predictions before fine-tuning; None if there are none, or `bodies` are these.
        body: that pose and betas belong to.
        model: name of network and method.
    """
    count = len(crops)
    reprojection = np.full(count, np.nan, np.float32)
    energy, agreement = np.zeros(count, np.float32), np.full(count, np.nan, np.float32)
    keypoint_model, prior = KeypointRegressor(body, crops.joint_set), PosePrior()
    for start in range(0, count, _BATCH_SIZE):
        some = slice(start, start + _BATCH_SIZE)
        found = score(
            keypoint_model,
            prior,
            Bodies(*(values[some] for values in bodies)),
            crops.keypoints[some],
            crops.boxes[some],
            crops.focal[some],
            crops.principal_point[some],
        )
        reprojection[some], energy[some] = found.reprojection, found.prior
        if initial is not None:
            before = _state(keypoint_model, Bodies(*(values[some] for values in initial)))[0].joints
            apart = (found.joints - found.joints[:, :1]) - (before - before[:, :1])
            agreement[some] = 1000 * apart.norm(dim=-1).mean(1).numpy()
    visible = (crops.keypoints[..., 2] > 0).sum(axis=1)
    return Labels(
        photos=annotations.photos[crops.rows],
        ids=annotations.ids[crops.rows],
        boxes=crops.boxes,
        keypoints=crops.keypoints,
        pose=bodies.pose,
        betas=bodies.betas,
        translation=bodies.translation,
        focal=crops.focal,
        principal_point=crops.principal_point,
        sizes=crops.sizes,
        sources=crops.sources,
        reprojection=reprojection,
        prior=energy,
        agreement=agreement,
        reliable=agrees(visible, reprojection),
        joint_set=crops.joint_set,
        body=body.name,
        model=model,
    )


def write_cliff(labels: Labels, path: Path, body: BodyModel) -> None:
    """Write labels in the format of those that CLIFF's authors released (cliffGT_v1).

    `data.formats.cliff_npz.CLIFFLabels` reads it. Their keys: imgname, center, scale (windows of height /
    width 4/3, enlarged by 1.2), part and S (`j24`; S relative to the pelvis, left out for a body without a
    regressor), annot_id, pose (axis-angle), shape, has_smpl, global_t, focal_l. has_smpl and the validity of
    S are 1 for reliable people only, so that the others' bodies are not used in training. Further keys, which
    `SPINList` reads: body, box, focal, cam_center, img_w, img_h, name, has_trans, part_<joint set>. And:
    reprojection, prior, agreement, as in Labels.
    """
    windows = box_from_xyxy(labels.boxes, aspect=4 / 3, enlarge=LABEL_ENLARGE)
    trusted = labels.reliable.astype(np.int64)
    arrays: dict[str, NDArray[Any]] = {
        "imgname": labels.photos,
        "center": windows.center,
        "scale": windows.size / 200,
        "part": convert_joint_set(labels.keypoints, labels.joint_set, "j24"),
        "annot_id": labels.ids,
        "pose": rotation_vectors(labels.pose),
        "shape": labels.betas,
        "has_smpl": trusted,
        "global_t": labels.translation,
        "focal_l": labels.focal.mean(axis=1),
        "body": np.full(len(labels), labels.body),
        "box": labels.boxes,
        "focal": labels.focal,
        "cam_center": labels.principal_point,
        "img_w": labels.sizes[:, 0],
        "img_h": labels.sizes[:, 1],
        "name": np.array(
            [f"{p}#{i}" for p, i in zip(labels.photos.tolist(), labels.ids.tolist(), strict=True)], np.str_
        ),
        "has_trans": trusted,
        "reprojection": labels.reprojection,
        "prior": labels.prior,
        "agreement": labels.agreement,
    }
    if labels.joint_set != "j24":
        arrays[f"part_{labels.joint_set}"] = labels.keypoints
    if "j24" in body.data.regressors:
        arrays["S"] = _joints24(labels, body)
    write_npz(path, arrays)


def _joints24(labels: Labels, body: BodyModel) -> NDArray[np.float32]:
    model = KeypointRegressor(body, "j24")
    pelvis = JOINT_SETS["j24"].names.index("pelvis")
    out = np.zeros((len(labels), 24, 4), np.float32)
    out[labels.reliable, :, 3] = 1
    bodies = Bodies(labels.pose, labels.betas, labels.translation)
    for start in range(0, len(labels), _BATCH_SIZE):
        some = slice(start, start + _BATCH_SIZE)
        points = _state(model, Bodies(*(values[some] for values in bodies)))[0].keypoints
        out[some, :, :3] = points - points[:, pelvis, None]
    return out


@torch.inference_mode()
def _state(model: KeypointRegressor, bodies: Bodies) -> tuple[Any, torch.Tensor]:
    """Keypoints of some bodies before translation, and their body pose (n, 69) axis-angle."""
    pose, betas = torch.from_numpy(bodies.pose), torch.from_numpy(bodies.betas)
    return model(betas, pose), matrix_to_rotvec(pose[:, 1:]).flatten(1)


def worst_first(labels: Labels, key: str) -> Sequence[int]:
    """Indices of people by a score, the worst first; people without it are left out."""
    values = getattr(labels, key)
    return [int(i) for i in np.argsort(-values, kind="stable") if not np.isnan(values[i])]
