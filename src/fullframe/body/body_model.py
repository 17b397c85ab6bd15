"""SMPL's body model (Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015)."""

import itertools
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fullframe.assets import OPEN_BODY
from fullframe.body.files import SMPL_FOLDER, BodyData, BodyFileError, find_smpl, read_body
from fullframe.body.joint_sets import JOINT_SETS, PARENTS

BODY_NAMES = ("open", "smpl", "smpl-neutral", "smpl-male", "smpl-female")


class BodyOutput(NamedTuple):
    """Vertices (N, V, 3) and SMPL's 24 joints (N, 24, 3), in metres."""

    vertices: Tensor
    joints: Tensor


def load_body(name: str = "open", path: str | Path | None = None, num_betas: int = 10) -> "BodyModel":
    """Loads a body: the built-in open one, or SMPL from your own file.

    Args:
        name: "open", or "smpl" with a path; "smpl-neutral", "smpl-male" and "smpl-female" give the gender
            if the file name does not.
        path: SMPL's .npz or official .pkl; without it, the one in body.files.SMPL_FOLDER. Pickles are read
            without executing anything in them.
        num_betas: how many shape directions to keep. The open body's 11th is the direction from adult to kid.

    Raises:
        BodyFileError: the name is unknown, or the file is missing or unusable.
    """
    if name not in BODY_NAMES:
        raise BodyFileError(f"unknown body {name!r}; choose one of {', '.join(BODY_NAMES)}.")
    if path is None:
        if name != "open":
            found = find_smpl(name)
            if not found:
                raise BodyFileError(
                    f"{name} was not found in {SMPL_FOLDER}: put SMPL_NEUTRAL.pkl (or _MALE, _FEMALE, .npz) "
                    "from https://smpl.is.tue.mpg.de there, or give its path; its licence does not allow us "
                    "to ship it."
                )
            return BodyModel(read_body(found[0], name), num_betas)
        return BodyModel(_open_body(), num_betas)
    data = read_body(Path(path), "smpl" if name == "open" else name)
    if (name == "open") != (data.name == "open"):
        raise BodyFileError(f"{path}: asked for {name}, but this file holds {data.name}.")
    return BodyModel(data, num_betas)


@lru_cache(maxsize=1)
def _open_body() -> BodyData:
    """Read once; all bodies share its arrays, which nobody changes."""
    return read_body(OPEN_BODY)


class BodyModel(nn.Module):
    """Shape and pose to vertices and joints: linear blend skinning with shape and pose blend shapes.

    At rest the body stands in a T-pose, y up, facing +z, in metres.
    """

    faces: Tensor  # (F, 3) int64
    _weights: Tensor  # (24, V)
    _joint_template: Tensor  # (72,)
    _joint_dirs: Tensor  # (B, 72)

    def __init__(self, data: BodyData, num_betas: int = 10):
        """
        Raises:
            BodyFileError: the file has fewer than num_betas shape directions, or num_betas is not positive.
        """
        super().__init__()
        if not 1 <= num_betas <= data.shape_dirs.shape[2]:
            raise BodyFileError(
                f"the body {data.name} has {data.shape_dirs.shape[2]} shape directions, not {num_betas}; "
                f"choose num_betas between 1 and {data.shape_dirs.shape[2]}."
            )
        self.name = data.name
        self.num_betas = num_betas
        self.num_vertices = len(data.template)
        self.part_names = data.part_names
        self.data = data

        def constant(name: str, array: np.ndarray) -> None:
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

        constant("faces", data.faces)
        shape_dirs = data.shape_dirs[..., :num_betas]
        self._blend_shapes = _BlendShapes(data.template, np.concatenate((shape_dirs, data.pose_dirs), axis=2))
        constant("_weights", data.weights.T)
        # Joints are linear in betas, so they need no vertices.
        regressor = data.joint_regressor.astype(np.float64)
        constant("_joint_template", (regressor @ data.template).astype(np.float32).reshape(-1))
        joint_dirs = np.einsum("jv,vcb->bjc", regressor, shape_dirs, optimize=True)
        constant("_joint_dirs", joint_dirs.astype(np.float32).reshape(num_betas, -1))
        for joint_set, matrix in data.regressors.items():
            constant("_regressor_" + joint_set, matrix)

    @property
    def uv(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Texture coordinates (T, 2), origin at the texture's lower left, and faces into them (F, 3)."""
        return self.data.uv

    @property
    def parts(self) -> np.ndarray | None:
        """The body part of each vertex (V,) int8, an index into part_names."""
        return self.data.parts

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Joints (N, 24, 3) of the shaped body in rest pose, for betas (N, B)."""
        return (self._joint_template + betas @ self._joint_dirs).unflatten(-1, (24, 3))

    def forward(self, betas: Tensor, pose: Tensor, translation: Tensor | None = None) -> BodyOutput:
        """Poses the body.

        Args:
            betas: (N, B) shape coefficients, in standard deviations.
            pose: (N, 24, 3, 3) rotation of each joint relative to its parent. The root's turns the body about
                its rest pelvis, which stays where it is.
            translation: (N, 3), added to vertices and joints.
        """
        rest = self.rest_joints(betas)
        rotations, joints = forward_kinematics(rest, pose)
        posed = self._blended(betas, pose)
        offsets = joints - (rotations @ rest[..., None])[..., 0]
        transforms = torch.cat((rotations, offsets[..., None]), -1).permute(0, 3, 2, 1)
        # An exported graph has no gradient and batches of any size.
        skin = _skin if torch.compiler.is_compiling() else _Skin.apply
        vertices = skin(posed, transforms.flatten(1, 2), self._weights)
        if translation is not None:
            vertices, joints = vertices + translation[:, None], joints + translation[:, None]
        return BodyOutput(vertices, joints)

    def blended(self, betas: Tensor, pose: Tensor) -> Tensor:
        """Vertices (N, V, 3) in the T-pose, with the shape and the pose blend shapes: what skinning moves."""
        return self._blended(betas, pose).transpose(1, 2)

    def _blended(self, betas: Tensor, pose: Tensor) -> Tensor:
        return self._blend_shapes(torch.cat((betas, pose_feature(pose)), 1))

    def regress(self, vertices: Tensor, joint_set: str = "coco17") -> Tensor:
        """Joints (N, K, 3) of a joint set, regressed from this body's vertices (N, V, 3).

        Raises:
            BodyFileError: this body has no regressor for the joint set, or the vertices are another body's.
        """
        if vertices.shape[-2] != self.num_vertices:
            raise BodyFileError(
                f"{vertices.shape[-2]} vertices belong to another body: {self.name} has {self.num_vertices}, "
                "and a regressor only fits the body that it was made for."
            )
        return self.regressor(joint_set) @ vertices

    def regressor(self, joint_set: str) -> Tensor:
        """The matrix (K, V) that turns vertices into a joint set.

        Raises:
            BodyFileError: this body has no regressor for the joint set.
        """
        if joint_set not in JOINT_SETS:
            raise BodyFileError(f"unknown joint set {joint_set!r}; choose one of {', '.join(JOINT_SETS)}.")
        if joint_set not in self.data.regressors:
            file = "J_regressor_h36m.npy" if joint_set == "h36m17" else "J_regressor_extra.npy"
            raise BodyFileError(
                f"the body {self.name} has no regressor for {joint_set}; put {file} beside the SMPL file "
                "(it comes with SPIN's and most other HMR data downloads)."
            )
        return getattr(self, "_regressor_" + joint_set)


class _BlendShapes(nn.Module):
    """The template and what features add to it: (N, D) to (N, 3, V).

    Vertices are kept coordinate by coordinate, so that inner loops run over vertices. A pose blend shape
    moves few vertices, and neighbours in the file are mostly moved by the same: if it saves half of the work,
    each block of vertices is multiplied with only those features that move any of them.
    """

    order: Tensor  # the features of each block, one block after the other

    def __init__(self, template: np.ndarray, dirs: np.ndarray, blocks: int = 8):
        super().__init__()
        edges = np.linspace(0, len(template), blocks + 1).astype(int)
        spans = [slice(*edge) for edge in itertools.pairwise(edges)]
        rows = [np.flatnonzero((dirs[span] != 0).any(axis=(0, 1))) for span in spans]
        if sum(len(row) for row in rows) > blocks * dirs.shape[2] / 2:
            spans, rows = [slice(None)], [np.arange(dirs.shape[2])]
        self.lengths = [len(row) for row in rows]
        self.register_buffer("order", torch.from_numpy(np.concatenate(rows)), persistent=False)
        for i, (span, row) in enumerate(zip(spans, rows, strict=True)):
            flat = template[span].T.reshape(-1)
            matrix = dirs[span][..., row].transpose(2, 1, 0).reshape(len(row), flat.size)
            self.register_buffer(
                f"template{i}", torch.from_numpy(np.ascontiguousarray(flat)), persistent=False
            )
            self.register_buffer(f"dirs{i}", torch.from_numpy(np.ascontiguousarray(matrix)), persistent=False)

    def forward(self, feature: Tensor) -> Tensor:
        parts = (feature if len(self.lengths) == 1 else feature[:, self.order]).split(self.lengths, 1)
        moved = [
            torch.addmm(getattr(self, f"template{i}"), part, getattr(self, f"dirs{i}")).unflatten(1, (3, -1))
            for i, part in enumerate(parts)
        ]
        return torch.cat(moved, 2) if len(moved) > 1 else moved[0]


class _Skin(torch.autograd.Function):
    """Linear blend skinning, a few bodies at a time so that the blended matrices stay in the cache.

    Its gradient is written out because autograd would keep the blended matrices, 12 numbers for every vertex
    of every body, and walk over them several times.
    """

    CHUNK = 8

    @staticmethod
    def forward(ctx, posed: Tensor, transforms: Tensor, weights: Tensor) -> Tensor:
        """Vertices (N, 3, V), the transforms' four columns (N, 12, 24) and weights (24, V) to (N, V, 3)."""
        ctx.save_for_backward(posed, transforms, weights)
        vertices = posed.new_empty(len(posed), posed.shape[2], 3)
        for start in range(0, len(posed), _Skin.CHUNK):
            chunk = slice(start, start + _Skin.CHUNK)
            vertices[chunk] = _skin(posed[chunk], transforms[chunk], weights)
        return vertices

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        posed, transforms, weights = ctx.saved_tensors
        to_posed, to_transforms = torch.empty_like(posed), torch.empty_like(transforms)
        for start in range(0, len(posed), _Skin.CHUNK):
            chunk = slice(start, start + _Skin.CHUNK)
            direction = gradient[chunk].transpose(1, 2).contiguous()
            blended = (transforms[chunk, :9] @ weights).unflatten(1, (3, 3))
            to_posed[chunk] = blended.mul_(direction[:, None]).sum(2)
            to_blended = torch.cat((direction[:, None] * posed[chunk, :, None], direction[:, None]), 1)
            to_transforms[chunk] = to_blended.flatten(1, 2) @ weights.T
        return to_posed, to_transforms, None


def _skin(posed: Tensor, transforms: Tensor, weights: Tensor) -> Tensor:
    """Arguments and result as for _Skin, all bodies at once."""
    blended = (transforms @ weights).unflatten(1, (4, 3))
    result = blended[:, 3]
    for axis in range(3):
        result.addcmul_(blended[:, axis], posed[:, axis, None])
    return result.transpose(1, 2)


def pose_feature(pose: Tensor) -> Tensor:
    """What the pose blend shapes are driven by: R - I of the 23 joints below the root, (N, 207)."""
    return (pose[:, 1:] - torch.eye(3, dtype=pose.dtype, device=pose.device)).flatten(1)


def _ancestors() -> list[list[int]]:
    """For each step of pointer jumping, every joint's 1st, 2nd, 4th, 8th ancestor; 24 stands for none."""
    steps = [[24, *PARENTS[1:], 24]]
    while any(joint != 24 for joint in steps[-1]):
        steps.append([steps[-1][joint] for joint in steps[-1]])
    return steps[:-1]


_ANCESTORS = _ancestors()


def forward_kinematics(rest: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Rest joints (N, 24, 3) and local rotations (N, 24, 3, 3) to global rotations and joint positions.

    Pointer jumping: each step composes every joint's transform with that of the joint it has reached and
    doubles the length of the chain covered, so SMPL's nine levels take four products.
    """
    bones = torch.cat((rest[:, :1], rest[:, 1:] - rest[:, PARENTS[1:]]), 1)
    bottom = torch.eye(4, dtype=rest.dtype, device=rest.device)[3:].expand(rest.shape[0], 24, 1, 4)
    transforms = torch.cat((torch.cat((pose, bones[..., None]), -1), bottom), -2)
    nothing = torch.eye(4, dtype=rest.dtype, device=rest.device).expand(rest.shape[0], 1, 4, 4)
    transforms = torch.cat((transforms, nothing), 1)
    for ancestors in _ANCESTORS:
        transforms = transforms[:, ancestors] @ transforms
    return transforms[:, :24, :3, :3], transforms[:, :24, :3, 3]
