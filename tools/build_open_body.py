"""Builds src/fullframe/assets/open_body.npz, the open body, from Anny (Apache-2.0 code, CC0 data).

    pip install -e .[assets]
    python tools/build_open_body.py    # 3 minutes on one core; 2 more when anny loads for the first time

The same versions on the same machine give the same bytes. With the motion data at hand (FULLFRAME_SHARED) it
also measures the posed body on 40 motion-capture poses. The steps:

1. Anny's mesh (MakeHuman's hm08 without tongue) is decimated to 6700 vertices, mirror-symmetrically.
2. Adults and kids are drawn from Anny's calibrated population, made symmetric and put in SMPL's T-pose by
   turning Anny's bones. Each of SMPL's 24 joints is the head of one of Anny's bones; the others follow.
3. Shape directions: principal components of the adults; the 11th leads from the mean adult to the mean kid.
4. Joint regressor: ridge regression from vertices near each joint.
5. Pose blend shapes: regression of what dual-quaternion skinning by Anny's 104 bones adds to linear blend
   skinning by 24.
6. Keypoint regressors: non-negative least squares from nearby vertices over many posed bodies.
"""

import io
import os
import sys
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import anny
import numpy as np
import torch
from anny.face_segmentation import get_face_segmentation_mask
from anny.shape_distribution import SimpleShapeDistribution
from anny.skinning.skinning import dual_quaternion_skinning
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel, forward_kinematics
from fullframe.body.files import BodyData, read_body
from fullframe.body.joint_sets import JOINT_SETS, PARENTS

sys.path.insert(0, str(Path(__file__).parent))
from symmetric_decimation import decimate, mirror_indices, triangulate_symmetrically

REPOSITORY = Path(__file__).resolve().parents[1]
ASSET = REPOSITORY / "src/fullframe/assets/open_body.npz"
SHARED = Path(os.environ.get("FULLFRAME_SHARED", REPOSITORY.parent / "shared"))

NUM_VERTICES = 6700
NUM_ADULTS, NUM_KIDS, NUM_HELD_OUT = 2400, 600, 300
LOCAL_CHANGES_SIGMA = 0.12  # more, and beta 1 is no longer weight
NAMES = JOINT_SETS["smpl24"].names
Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # from Anny's z up, facing -y
MIRROR = np.array([-1.0, 1, 1])

_LEFT_BONES = {
    "left_hip": "upperleg01 upperleg02",
    "left_knee": "lowerleg01 lowerleg02",
    "left_ankle": "foot",
    "left_foot": "toe1-1 toe1-2 toe2-1 toe2-2 toe2-3 toe3-1 toe3-2 toe3-3 toe4-1 toe4-2 toe4-3 "
    "toe5-1 toe5-2 toe5-3",
    "left_collar": "clavicle shoulder01",
    "left_shoulder": "upperarm01 upperarm02",
    "left_elbow": "lowerarm01 lowerarm02",
    "left_wrist": "wrist metacarpal1 metacarpal2 metacarpal3 metacarpal4 finger1-1",
    "left_hand": "finger2-1 finger2-2 finger2-3 finger3-1 finger3-2 finger3-3 finger4-1 finger4-2 finger4-3 "
    "finger5-1 finger5-2 finger5-3 finger1-2 finger1-3",
}
BONES = {
    "pelvis": ["root", "pelvis.L", "pelvis.R", "spine05", "spine04"],
    "spine1": ["spine03"],
    "spine2": ["spine02"],
    "spine3": ["spine01"],
    "neck": ["neck01", "neck02"],
    "head": ["neck03", "head", "eye.L", "eye.R"],
    **{name: [bone + ".L" for bone in bones.split()] for name, bones in _LEFT_BONES.items()},
    **{
        name.replace("left", "right"): [bone + ".R" for bone in bones.split()]
        for name, bones in _LEFT_BONES.items()
    },
}
"""Anny's bones that follow each of SMPL's joints; the joint is the head of the first.

Three kinds are means of heads: the pelvis (root and spine04, as SMPL's lies above the hips), and the roots
of toes and of fingers (see JOINT_HEADS)."""
JOINT_HEADS = {
    **{name: bones[:1] for name, bones in BONES.items()},
    "pelvis": ["root", "spine04"],
    **{
        f"{side}_{name}": [f"{bone}-1.{side[0].upper()}" for bone in bones]
        for side in ("left", "right")
        for name, bones in (
            ("foot", ["toe1", "toe2", "toe3", "toe4", "toe5"]),
            ("hand", ["finger2", "finger3", "finger4", "finger5"]),
        )
    },
}

# Rotation vectors in degrees that turn the left limbs from MakeHuman's rest pose to SMPL's T-pose: arms and
# palms level with the elbow's hinge upright, thumbs forward, lower legs upright, feet nearly ahead.
T_POSE = {
    "left_hip": (4.4, 0.0, 0.0),
    "left_knee": (0.0, 1.2, -8.0),
    "left_ankle": (0.0, 9.4, 0.0),
    "left_foot": (0.0, 9.4, 0.0),
    "left_shoulder": (6.8, 5.5, 45.5),
    "left_elbow": (20.0, 42.6, 45.3),
    "left_wrist": (27.6, 54.3, 40.4),
    "left_hand": (27.6, 54.3, 40.4),
}
STRAIGHTENED = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}
"""Bones (joint: child) that point the same way in everybody's T-pose, as they do in the template's."""

PARTS = [
    "torso",
    "head",
    *[
        f"{side}_{part}"
        for part in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")
        for side in ("left", "right")
    ],
]
PART_OF_JOINT = {
    **dict.fromkeys(NAMES, "torso"),
    "neck": "head", "head": "head",
    **{f"{side}_{joint}": f"{side}_{part}"
       for side in ("left", "right")
       for joint, part in {"shoulder": "upper_arm", "elbow": "forearm", "wrist": "hand", "hand": "hand",
                           "hip": "thigh", "knee": "shin", "ankle": "foot", "foot": "foot"}.items()},
}  # fmt: skip


@dataclass
class People:
    """N people at rest: vertices (N, V, 3) and heads of Anny's bones (N, 104, 3), y up, metres."""

    vertices: np.ndarray
    heads: np.ndarray


@dataclass
class Source:
    """Anny, restricted to the decimated mesh."""

    model: anny.Anny
    index: np.ndarray  # (V,) into Anny's vertices
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    mirror: np.ndarray  # (V,)
    weights: np.ndarray  # (V, 104)
    blendshapes: np.ndarray  # (C, V * 3), Anny's axes
    bone_mirror: np.ndarray = field(init=False)
    group: np.ndarray = field(init=False)  # (104,) SMPL joint of each bone

    def __post_init__(self):
        labels = self.model.bone_labels
        swap = {"L": "R", "R": "L"}
        self.bone_mirror = np.array(
            [labels.index(label[:-1] + swap[label[-1]]) if label[-2:] in (".L", ".R") else i
             for i, label in enumerate(labels)]
        )  # fmt: skip
        joint_of = {bone: NAMES.index(joint) for joint, bones in BONES.items() for bone in bones}
        self.group = np.array([joint_of[label] for label in labels])

    def joints(self, heads: np.ndarray) -> np.ndarray:
        """SMPL's joints (N, 24, 3) from bone heads (N, 104, 3)."""
        labels = self.model.bone_labels
        return np.stack(
            [heads[:, [labels.index(b) for b in JOINT_HEADS[name]]].mean(1) for name in NAMES], axis=1
        )


def load_source() -> Source:
    model = anny.Anny(
        rig="anny",
        topology="anny-quads-notongue",
        local_changes="default",
        phenotypes="all",
        phenotype_blendshapes="original",
        skinning_method="lbs",
    )
    template = model.template_vertices.numpy() @ Y_UP.T
    mirror = mirror_indices(template)
    hidden = ["eye_cavity.R", "eye_cavity.L", "mouth_cavity", "eye_back.L", "eye_back.R"]
    quad_weight = np.where(get_face_segmentation_mask(model, hidden).numpy(), 0.01, 1.0)
    quad_weight[get_face_segmentation_mask(model, ["foot.L", "foot.R"]).numpy()] = 0.3
    quads = model.faces.numpy()
    faces, uv_faces = triangulate_symmetrically(
        quads, model.face_texture_coordinate_indices.numpy(), template, mirror
    )
    kept, faces, uv_faces = decimate(
        template, faces, uv_faces, np.repeat(quad_weight, 2), mirror, NUM_VERTICES
    )
    uv_kept, uv_faces = np.unique(uv_faces, return_inverse=True)
    weights = model.dense_vertex_bone_weights.numpy()[kept]
    new = {int(old): i for i, old in enumerate(kept)}
    source = Source(
        model=model,
        index=kept,
        faces=faces,
        uv=model.texture_coordinates.numpy()[uv_kept],
        uv_faces=uv_faces.reshape(-1, 3),
        mirror=np.array([new[int(mirror[old])] for old in kept]),
        weights=weights,
        blendshapes=model.blendshapes[:, kept].numpy().astype(np.float32).reshape(len(model.blendshapes), -1),
    )
    source.weights = (weights + weights[source.mirror][:, source.bone_mirror]) / 2
    return source


def draw_people(source: Source, count: int, ages: tuple[float, float], seed: int) -> People:
    """Symmetric people of Anny's calibrated population, in MakeHuman's rest pose."""
    model = source.model
    torch.manual_seed(seed)
    low, high = (torch.tensor(age, dtype=torch.float64) for age in ages)
    population = SimpleShapeDistribution(model, torch.distributions.Uniform(low, high))
    phenotypes = population.sample(count)[1]
    phenotypes = torch.stack([phenotypes[label] for label in model.phenotype_labels], 1)
    local = (
        LOCAL_CHANGES_SIGMA * torch.randn(count, len(model.local_change_labels), dtype=torch.float64)
    ).clamp(-1, 1)
    coefficients = model._get_phenotype_blendshape_coefficients(
        phenotypes, local, torch.zeros(count, 0, dtype=torch.float64)
    ).numpy()
    vertices = model.template_vertices.numpy()[source.index].reshape(-1) + (
        coefficients.astype(np.float32) @ source.blendshapes
    )
    heads = model.template_bone_heads.numpy() + np.einsum(
        "na,abc->nbc", coefficients, model.bone_heads_blendshapes.numpy()
    )
    vertices, heads = vertices.reshape(count, -1, 3) @ Y_UP.T, heads @ Y_UP.T
    return People(
        (vertices + vertices[:, source.mirror] * MIRROR) / 2,
        (heads + heads[:, source.bone_mirror] * MIRROR) / 2,
    )


def turn_bones(source: Source, heads: np.ndarray, pivot: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Transforms (N, 104, 4, 4) of Anny's bones when each turns, about its head, with its SMPL joint.

    heads: (N, 104, 3) before; pivot: (N, 3) what the root turns about; rotations: (N, 24, 3, 3) global.
    """
    result = np.zeros((len(heads), heads.shape[1], 4, 4))
    result[:, :, :3, :3] = rotations[:, source.group]
    result[:, :, 3, 3] = 1
    for bone, parent in enumerate(source.model.bone_parents):
        if parent >= 0 and source.group[parent] == source.group[bone]:
            result[:, bone] = result[:, parent]
            continue
        centre = heads[:, bone] if parent >= 0 else pivot
        moved = apply(result[:, parent], centre[:, None])[:, 0] if parent >= 0 else pivot
        result[:, bone, :3, 3] = moved - (rotations[:, source.group[bone]] @ centre[..., None])[..., 0]
    return result


def apply(transforms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transforms (..., 4, 4) of points (..., K, 3)."""
    return points @ np.swapaxes(transforms[..., :3, :3], -1, -2) + transforms[..., None, :3, 3]


def skin_linear(source: Source, vertices: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    blended = np.einsum("vb,nbij->nvij", source.weights, transforms[..., :3, :], optimize=True)
    return np.einsum("nvij,nvj->nvi", blended[..., :3], vertices) + blended[..., 3]


def skin_dual_quaternion(source: Source, vertices: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    # The strongest bone first: it decides the sign of the others' quaternions.
    order = np.argsort(-source.weights, axis=1, kind="stable")[:, :8]
    weights = np.take_along_axis(source.weights, order, 1)
    weights /= weights.sum(1, keepdims=True)
    return dual_quaternion_skinning(
        torch.from_numpy(vertices), torch.from_numpy(weights)[None], torch.from_numpy(order)[None],
        torch.from_numpy(transforms),
    ).numpy()  # fmt: skip


def t_pose_rotations(source: Source, heads: np.ndarray, mean_heads: np.ndarray) -> np.ndarray:
    """Global rotations (N, 24, 3, 3) from MakeHuman's rest pose to SMPL's T-pose."""
    fixed = np.tile(np.eye(3), (24, 1, 1))
    for name, degrees in T_POSE.items():
        fixed[NAMES.index(name)] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
        mirrored = np.array(degrees) * [1, -1, -1]
        fixed[NAMES.index(name.replace("left", "right"))] = Rotation.from_rotvec(
            mirrored, degrees=True
        ).as_matrix()
    rotations = np.tile(fixed, (len(heads), 1, 1, 1))
    joints, mean = source.joints(heads), source.joints(mean_heads[None])[0]
    for side in ("left_", "right_"):
        for joint, child in STRAIGHTENED.items():
            k, c = NAMES.index(side + joint), NAMES.index(side + child)
            goal = fixed[k] @ (mean[c] - mean[k])
            now = (joints[:, c] - joints[:, k]) @ fixed[k].T
            rotations[:, k] = smallest_rotation(now, goal) @ fixed[k]
    return rotations


def smallest_rotation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) that turn each of a (N, 3) towards b (3,) (Rodrigues' formula)."""
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = np.broadcast_to(b / np.linalg.norm(b), a.shape)
    axis = np.cross(a, b)
    cross = np.zeros((len(a), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axis
    cross[:, [1, 2, 0], [2, 0, 1]] = -axis
    return np.eye(3) + cross + cross @ cross / (1 + (a * b).sum(1))[:, None, None]


@dataclass
class TPosed:
    """People in T-pose, the pelvis at the origin, and how their bones got there."""

    vertices: np.ndarray  # (N, V, 3)
    heads: np.ndarray  # (N, 104, 3)
    rest: People
    transforms: np.ndarray  # (N, 104, 4, 4) from rest to T-pose

    def __getitem__(self, which) -> "TPosed":
        return TPosed(
            self.vertices[which], self.heads[which],
            People(self.rest.vertices[which], self.rest.heads[which]), self.transforms[which],
        )  # fmt: skip


def t_pose(source: Source, people: People, mean_heads: np.ndarray) -> TPosed:
    rotations = t_pose_rotations(source, people.heads, mean_heads)
    pelvis = source.joints(people.heads)[:, 0]
    transforms = turn_bones(source, people.heads, pelvis, rotations)
    transforms[..., :3, 3] -= pelvis[:, None]
    vertices = np.concatenate(
        [skin_dual_quaternion(source, people.vertices[i : i + 20], transforms[i : i + 20])
         for i in range(0, len(pelvis), 20)]
    )  # fmt: skip
    heads = (transforms[..., :3, :3] @ people.heads[..., None])[..., 0] + transforms[..., :3, 3]
    return TPosed(vertices, heads, people, transforms)


def pose_anny(source: Source, people: TPosed, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transforms (N, 104, 4, 4) from rest pose and posed joints (N, 24, 3) for SMPL poses (N, 24, 3, 3)."""
    rotations = pose.copy()
    for joint in range(1, 24):
        rotations[:, joint] = rotations[:, PARENTS[joint]] @ pose[:, joint]
    turned = turn_bones(source, people.heads, source.joints(people.heads)[:, 0], rotations)
    heads = (turned[..., :3, :3] @ people.heads[..., None])[..., 0] + turned[..., :3, 3]
    return turned @ people.transforms, source.joints(heads)


# Range of motion of the left limbs and the trunk, degrees, as rotation vectors' (x, y, z) limits.
RANGES = {
    "left_hip": ((-120, 35), (-45, 45), (-25, 55)),
    "spine1": ((-25, 45), (-25, 25), (-25, 25)),
    "left_knee": ((-5, 145), (-15, 15), (-8, 8)),
    "spine2": ((-20, 35), (-25, 25), (-20, 20)),
    "left_ankle": ((-40, 45), (-25, 25), (-25, 25)),
    "spine3": ((-15, 25), (-15, 15), (-15, 15)),
    "left_foot": ((-40, 20), (-5, 5), (-5, 5)),
    "neck": ((-40, 40), (-45, 45), (-30, 30)),
    "left_collar": ((-10, 10), (-25, 20), (-15, 35)),
    "head": ((-30, 30), (-40, 40), (-25, 25)),
    "left_shoulder": ((-70, 70), (-110, 40), (-85, 75)),
    "left_elbow": ((-60, 60), (-150, 5), (-10, 10)),
    "left_wrist": ((-50, 50), (-30, 30), (-70, 70)),
    "left_hand": ((-5, 5), (-10, 10), (-60, 20)),
}


def random_poses(count: int, seed: int) -> np.ndarray:
    """Poses (N, 24, 3, 3) that cover the range of motion; the root does not turn."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((count, 24, 3))
    for name, limits in RANGES.items():
        low, high = np.array(limits).T
        for joint, mirror in ((name, 1), (name.replace("left", "right"), -1)):
            drawn = rng.uniform(low, high, (count, 3)) * (rng.random((count, 1)) < 0.7)
            vectors[:, NAMES.index(joint)] = drawn * [1, mirror, mirror]
    return Rotation.from_rotvec(np.radians(vectors).reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3)


def fit_shape(people: TPosed, kids: TPosed, num_betas: int = 10) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean adult (V, 3), directions (V, 3, B + 1) in standard deviations, and the variance they hold."""
    flat = people.vertices.reshape(len(people.vertices), -1)
    mean = flat.mean(0)
    _, singular, rows = np.linalg.svd(flat - mean, full_matrices=False)
    explained = (singular[:num_betas] ** 2).sum() / (singular**2).sum()
    directions = rows[:num_betas] * singular[:num_betas, None] / np.sqrt(len(flat) - 1)
    # Signs: taller and heavier are positive; the others make their largest entry positive.
    shape = directions.reshape(num_betas, -1, 3)
    for k in range(num_betas):
        largest = np.argmax(np.abs(shape[k].reshape(-1)))
        sign = np.ptp((mean + directions[k]).reshape(-1, 3)[:, 1]) - np.ptp(mean.reshape(-1, 3)[:, 1])
        if (sign if k == 0 else shape[k].reshape(-1)[largest]) < 0:
            shape[k] *= -1
    kid = kids.vertices.mean(0).reshape(1, -1, 3) - mean.reshape(1, -1, 3)
    return mean.reshape(-1, 3), np.concatenate((shape, kid)).transpose(1, 2, 0), float(explained)


def fit_joint_regressor(
    source: Source,
    template: np.ndarray,
    weights: np.ndarray,
    people: TPosed,
    count: int = 64,
    ridge: float = 1e-6,
) -> np.ndarray:
    """(24, V) rows that sum to 1: ridge regression from vertices around each joint.

    The vertices are found by orthogonal matching pursuit: one after the other, whichever explains most of the
    error that is left over all people.
    """
    joints = source.joints(people.heads)
    flip = JOINT_SETS["smpl24"].flip_permutation
    regressor = np.zeros((24, len(template)))
    for k in range(24):
        if flip[k] < k:
            regressor[k] = regressor[flip[k]][source.mirror]
            continue
        # A joint moves with its parent, so the vertices of both tell where it is.
        near = np.flatnonzero((weights[:, k] + weights[:, max(PARENTS[k], 0)]) > 0.3)
        distance = np.linalg.norm(template[near] - joints[:, k].mean(0), axis=1)
        near = near[np.argsort(distance, kind="stable")[:800]]
        if flip[k] == k:  # on the midline, columns are the means of a vertex and its mirror image
            near = near[template[near, 0] >= -1e-9]
            columns = (people.vertices[:, near] + people.vertices[:, source.mirror[near]] * MIRROR) / 2
        else:
            columns = people.vertices[:, near]
        # Relative to the nearest vertices' mean, weights that sum to 1 become free weights.
        base = columns[:, :8].mean(1)
        x = (columns - base[:, None]).transpose(0, 2, 1).reshape(-1, len(near))
        y = (joints[:, k] - base).reshape(-1)
        gram, right = x.T @ x / len(x), x.T @ y / len(x)
        size = np.sqrt(np.diag(gram)) + 1e-9
        chosen: list[int] = []
        solved = np.zeros(0)
        while len(chosen) < count:
            left = np.abs(right - gram[:, chosen] @ solved) / size
            left[chosen] = -1
            chosen.append(int(np.argmax(left)))
            solved = np.linalg.solve(
                gram[np.ix_(chosen, chosen)] + ridge * np.eye(len(chosen)), right[chosen]
            )
        row = np.zeros(len(template))
        np.add.at(row, near[chosen], solved)
        np.add.at(row, near[:8], (1 - solved.sum()) / 8)
        regressor[k] = (row + row[source.mirror]) / 2 if flip[k] == k else row
    return regressor


def merged_weights(source: Source) -> np.ndarray:
    """(V, 24) skinning weights in units of 1/65535, each row summing to exactly 1."""
    weights = np.zeros((len(source.index), 24))
    for bone, joint in enumerate(source.group):
        weights[:, joint] += source.weights[:, bone]
    flip = list(JOINT_SETS["smpl24"].flip_permutation)
    weights = (weights + weights[source.mirror][:, flip]) / 2
    weights[weights < 0.003] = 0
    weights /= weights.sum(1, keepdims=True)
    whole = np.round(weights * 65535)
    strongest = np.argmax(whole, axis=1)
    whole[np.arange(len(whole)), strongest] += 65535 - whole.sum(1)
    return whole


def fit_pose_blend_shapes(
    source: Source, body: BodyData, people: TPosed, count: int, seed: int, ridge: float = 0.02
) -> np.ndarray:
    """(V, 3, 207): what brings linear blend skinning to dual-quaternion skinning of Anny's 104 bones."""
    poses = random_poses(count, seed)
    who = np.random.default_rng(seed).integers(0, len(people.vertices), count)
    residual = np.zeros((count, len(body.template), 3), np.float32)
    for start in range(0, count, 20):
        span = slice(start, start + 20)
        some = people[who[span]]
        goal = skin_dual_quaternion(source, some.rest.vertices, pose_anny(source, some, poses[span])[0])
        rest = torch.from_numpy(body.joint_regressor.astype(np.float64) @ some.vertices)
        rotations, joints = (x.numpy() for x in forward_kinematics(rest, torch.from_numpy(poses[span])))
        offsets = joints - (rotations @ rest.numpy()[..., None])[..., 0]
        linear = np.einsum("vk,nkij->nvij", body.weights, rotations, optimize=True)
        moved = np.einsum("nvij,nvj->nvi", linear, some.vertices) + body.weights @ offsets
        # Damped inverse: where opposite turns cancel out, the blended matrix is nearly singular.
        normal = np.swapaxes(linear, -1, -2) @ linear + 0.05 * np.eye(3)
        back = np.einsum("nvji,nvj->nvi", linear, goal - moved)
        residual[span] = np.linalg.solve(normal, back[..., None])[..., 0]
    features = (poses[:, 1:] - np.eye(3)).reshape(count, 23, 9)

    # A vertex listens to the joints that move it, and to their children, whose turning bends it too.
    listens = body.weights[:, 1:] > 0.02
    directions = np.zeros((len(body.template), 3, 207))
    for pattern in np.unique(listens, axis=0):
        vertices = np.flatnonzero((listens == pattern).all(1))
        joints = np.flatnonzero(pattern)
        if len(joints) == 0:
            continue
        x = features[:, joints].reshape(count, -1)
        gram = x.T @ x / count + ridge * np.eye(x.shape[1])
        y = residual[:, vertices].reshape(count, -1)
        solved = np.linalg.solve(gram, x.T @ y / count)  # (9 * joints, 3 * vertices)
        columns = (joints[:, None] * 9 + np.arange(9)).reshape(-1)
        directions[vertices[:, None], :, columns[None]] = solved.reshape(
            len(columns), len(vertices), 3
        ).transpose(1, 0, 2)
    return symmetric_pose_directions(directions, source.mirror)


def symmetric_pose_directions(directions: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Averages pose blend shapes with their mirror image: mirrored pose, mirrored mesh."""
    flip = np.array(JOINT_SETS["smpl24"].flip_permutation)[1:] - 1
    signs = np.outer(MIRROR, MIRROR)
    split = directions.reshape(len(directions), 3, 23, 3, 3)
    mirrored = split[mirror][:, :, flip] * MIRROR[:, None, None, None] * signs
    return ((split + mirrored) / 2).reshape(directions.shape)


def keypoint_goals(
    vertices: np.ndarray, joints: np.ndarray, coco: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Where annotators click, (N, 3) each, on posed bodies (N, V, 3) with joints (N, 24, 3).

    coco: Anny's own COCO regressors, (V,) each. Hips are set apart as people label them: on standing people
    who face the camera the hips' distance is .65 of the shoulders' in COCO and .76 in LSP (medians).
    """
    joint = {name: joints[:, k] for k, name in enumerate(NAMES)}
    clicked = {name: np.einsum("v,nvc->nc", row, vertices) for name, row in coco.items()}
    middle = (clicked["left_hip"] + clicked["right_hip"]) / 2
    top = vertices[:, int(np.argmax(vertices[0, :, 1]))]  # the first body stands upright
    goals = dict(clicked)
    for side in ("left", "right"):
        goals[f"{side}_hip"] = middle + 1.07 * (clicked[f"{side}_hip"] - middle)
        goals[f"{side}_hip_lsp"] = middle + 1.25 * (clicked[f"{side}_hip"] - middle)
        goals |= {f"{side}_{name}_h36m": joint[f"{side}_{name}"]
                  for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")}  # fmt: skip
    goals["pelvis"] = (joint["left_hip"] + joint["right_hip"]) / 2
    goals["spine"] = 0.3 * joint["spine1"] + 0.7 * joint["spine2"]
    goals["thorax"] = (
        sum(joint[f"{side}_{name}"] for side in ("left", "right") for name in ("collar", "shoulder")) / 4
    )
    goals["neck"] = 0.25 * goals["thorax"] + 0.75 * joint["neck"]
    goals["jaw"] = 0.4 * joint["neck"] + 0.3 * joint["head"] + 0.3 * goals["nose"]
    goals["head"] = (joint["head"] + top) / 2
    goals["head_top"] = top
    return goals


def goal_name(joint_set: str, name: str) -> str:
    if joint_set == "h36m17":
        if name == "neck":
            return "thorax"
        return name + "_h36m" if name.startswith(("left_", "right_")) else name
    return name + "_lsp" if joint_set != "coco17" and name.endswith("_hip") else name


def fit_keypoint_regressors(
    source: Source, body: BodyData, seed: int, count: int = 160
) -> dict[str, np.ndarray]:
    """Sparse non-negative rows that sum to 1, one for each joint of each joint set."""
    vertices, joints = posed_bodies(body, count, seed)
    anny_rows = anny.KeypointsRegressor.coco(source.model)
    coco = {
        label: row[source.index] / row[source.index].sum()
        for label, row in zip(anny_rows.labels, anny_rows.regression_weights.numpy(), strict=True)
    }
    rows: dict[str, np.ndarray] = {}
    for name, goal in keypoint_goals(vertices, joints, coco).items():
        if name.startswith("right_"):
            continue
        order = np.argsort(np.linalg.norm(vertices[0] - goal[0], axis=1), kind="stable")
        near = np.concatenate((order[:40], order[40:400:6]))
        # A far heavier row asks for a sum of 1.
        x = np.append(
            vertices[:, near].transpose(0, 2, 1).reshape(-1, len(near)), np.full((1, len(near)), 100.0), 0
        )
        solved = nnls(x, np.append(goal.reshape(-1), 100.0))[0]
        solved[solved < 0.01] = 0
        row = np.zeros(len(body.template))
        row[near] = solved / solved.sum()
        if name.startswith("left_"):
            rows[name.replace("left_", "right_")] = row[source.mirror]
        else:
            row = (row + row[source.mirror]) / 2
        rows[name] = row
    return {
        joint_set: np.stack([rows[goal_name(joint_set, name)] for name in JOINT_SETS[joint_set].names])
        for joint_set in ("coco17", "h36m17", "lsp14", "j24")
    }


def posed_bodies(body: BodyData, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints of `count` bodies of random shape and pose; the first is the template at rest."""
    model = BodyModel(body)
    poses = random_poses(count, seed)
    betas = np.random.default_rng(seed).normal(size=(count, model.num_betas))
    poses[0], betas[0] = np.eye(3), 0
    with torch.no_grad():
        out = model(torch.from_numpy(betas).float(), torch.from_numpy(poses).float())
    return out.vertices.numpy().astype(np.float64), out.joints.numpy().astype(np.float64)


def quantised(array: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Integers and one factor for each last index."""
    scale = np.abs(array).reshape(-1, array.shape[-1]).max(0) / np.iinfo(dtype).max
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.round(array / scale).astype(dtype), scale


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz whose bytes depend on nothing but the arrays (numpy's own writes the time of day)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(name + ".npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, buffer.getvalue())


def measure(source: Source, body: BodyData, people: TPosed, kids: TPosed) -> dict[str, float]:
    """Errors in mm on held-out people, read back from the finished file."""
    template, shape_dirs = body.template.astype(np.float64), body.shape_dirs[..., :10].astype(np.float64)
    basis = shape_dirs.reshape(-1, 10)
    betas = np.linalg.lstsq(
        basis, (people.vertices - template).reshape(len(people.vertices), -1).T, rcond=None
    )[0].T
    from_betas = template + (betas @ basis.T).reshape(people.vertices.shape)
    stature = np.ptp(people.vertices[:, :, 1], axis=1)
    corners = people.vertices[:, body.faces]
    volume = np.einsum("nfc,nfc->n", np.cross(corners[:, :, 0], corners[:, :, 1]), corners[:, :, 2]) / 6

    heaviness = np.corrcoef(np.column_stack((betas, volume / stature**2)).T)[-1, :10]
    heaviest = int(np.argmax(np.abs(heaviness)))

    def error(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b, axis=-1).mean() * 1000)

    report = {
        "held-out vertices from 10 betas": error(from_betas, people.vertices),
        "correlation of beta 0 with stature": float(np.corrcoef(betas[:, 0], stature)[0, 1]),
        f"correlation of beta {heaviest} with volume / stature^2": float(heaviness[heaviest]),
        "joint regressor, held-out adults": error(
            body.joint_regressor @ people.vertices, source.joints(people.heads)
        ),
        "joint regressor, held-out kids": error(
            body.joint_regressor @ kids.vertices, source.joints(kids.heads)
        ),
    }
    motion = SHARED / "data/motion/poses.npz"
    if motion.is_file():
        with np.load(motion) as file:
            held_out, theta = np.flatnonzero(file["split"] == 1), file["theta"].astype(np.float64)
            chance = file["weight"][held_out].astype(np.float64)
        chosen = np.random.default_rng(0).choice(held_out, 40, replace=False, p=chance / chance.sum())
        report |= measure_posed(source, body, people[:40], from_betas[:40], theta[chosen])
    return report


def measure_posed(
    source: Source, body: BodyData, people: TPosed, from_betas: np.ndarray, theta: np.ndarray
) -> dict[str, float]:
    """Distance, in mm, to Anny's own posed meshes: its linear skinning (its default) and dual quaternions."""
    pose = Rotation.from_rotvec(theta.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    transforms = pose_anny(source, people, pose)[0]
    goals = {
        "Anny's linear skinning": skin_linear(source, people.rest.vertices, transforms),
        "Anny's dual quaternion skinning": skin_dual_quaternion(source, people.rest.vertices, transforms),
    }
    check_against_anny(source, people, transforms)
    report = {}
    for shape, vertices in (("own shape", people.vertices), ("10 betas", from_betas)):
        # The body's forward pass on given rest vertices: each person becomes the template of a body.
        posed = np.stack([
            BodyModel(replace(body, template=v.astype(np.float32)))(
                torch.zeros(1, 10), torch.from_numpy(p[None]).float()
            ).vertices[0].numpy()
            for v, p in zip(vertices, pose, strict=True)
        ])  # fmt: skip
        for name, goal in goals.items():
            distance = np.linalg.norm(posed - goal, axis=-1).mean(1) * 1000
            report[f"40 mocap poses, {shape}, to {name}"] = float(distance.mean())
            report[f"40 mocap poses, {shape}, to {name}, worst pose"] = float(distance.max())
    return report


def check_against_anny(source: Source, people: TPosed, transforms: np.ndarray) -> None:
    """turn_bones moves the bones as Anny's own forward kinematics does, given the same orientations."""
    model = source.model
    back = torch.from_numpy(Y_UP.T @ transforms[..., :3, :3] @ Y_UP)
    rest = torch.eye(4, dtype=torch.float64).repeat(len(people.heads), len(model.bone_labels), 1, 1)
    rest[..., :3, 3] = torch.from_numpy(people.rest.heads @ Y_UP)
    posed = rest.clone()
    posed[..., :3, :3] = back
    posed[:, 0, :3, 3] = torch.from_numpy((apply(transforms[:, 0], people.rest.heads[:, :1]) @ Y_UP)[:, 0])
    moved = model.get_bone_transforms(posed, rest, pose_parameterization="world-orient")[0]
    ours = apply(transforms, people.rest.heads[:, :, None])[:, :, 0]
    theirs = apply(moved.numpy(), (people.rest.heads @ Y_UP)[:, :, None])[:, :, 0] @ Y_UP.T
    assert np.abs(ours - theirs).max() < 1e-6, np.abs(ours - theirs).max()


def main() -> None:
    torch.set_num_threads(1)
    source = load_source()
    adults = draw_people(source, NUM_ADULTS + NUM_HELD_OUT, (18, 80), seed=1)
    mean_heads = adults.heads.mean(0)
    adults = t_pose(source, adults, mean_heads)
    kids = t_pose(source, draw_people(source, NUM_KIDS, (2, 8), seed=2), mean_heads)
    train, held_out = adults[:NUM_ADULTS], adults[NUM_ADULTS:]
    train_kids, held_out_kids = kids[: NUM_KIDS * 5 // 6], kids[NUM_KIDS * 5 // 6 :]

    template, shape_dirs, explained = fit_shape(train, train_kids)
    weights = merged_weights(source)
    everybody = TPosed(
        np.concatenate((train.vertices, train_kids.vertices)),
        np.concatenate((train.heads, train_kids.heads)),
        train.rest,
        train.transforms,
    )
    regressor = fit_joint_regressor(source, template, weights / 65535, everybody)
    body = BodyData(
        name="open",
        template=template.astype(np.float32),
        shape_dirs=shape_dirs.astype(np.float32),
        pose_dirs=np.zeros((NUM_VERTICES, 3, 207), np.float32),
        joint_regressor=regressor.astype(np.float32),
        weights=(weights / 65535).astype(np.float32),
        faces=source.faces,
    )
    body = replace(
        body, pose_dirs=fit_pose_blend_shapes(source, body, train, 1500, seed=3).astype(np.float32)
    )
    keypoints = fit_keypoint_regressors(source, body, seed=4)

    arrays = {
        "name": np.array("open"),
        "v_template": body.template,
        "f": source.faces.astype(np.uint16),
        "kintree_table": np.array([PARENTS, range(24)], np.int32),
        "weights": weights.astype(np.uint16),
        "weights_scale": np.array(1 / 65535, np.float32),
        "J_regressor": body.joint_regressor,
        **{"J_" + name: matrix.astype(np.float32) for name, matrix in keypoints.items()},
        "vt": source.uv.astype(np.float32),
        "ft": source.uv_faces.astype(np.uint16),
        "parts": np.array(
            [PARTS.index(PART_OF_JOINT[NAMES[k]]) for k in np.argmax(weights, axis=1)], np.int8
        ),
        "part_names": np.array(PARTS),
        "makehuman_index": source.model.base_mesh_vertex_indices.numpy()[source.index].astype(np.uint16),
    }
    arrays["shapedirs"], arrays["shapedirs_scale"] = quantised(shape_dirs, np.int16)
    arrays["posedirs"], arrays["posedirs_scale"] = quantised(body.pose_dirs, np.int8)
    write_npz(ASSET, arrays)

    print(f"{ASSET}: {ASSET.stat().st_size / 1e6:.2f} MB")
    print(f"shape variance in 10 betas: {100 * explained:.2f} %")
    for name, value in measure(source, read_body(ASSET), held_out, held_out_kids).items():
        print(f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
