"""Rigged characters of others, read from GLB: which of their bones are which of SMPL's joints."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.export.glb import Glb
from fullframe.export.rigs import RIGS
from fullframe.io.npz import require_regular_file

JOINTS = JOINT_SETS["smpl24"].names
_SPINE = (3, 6, 9)
_LEGS = (1, 2, 4, 5, 7, 8)
_MIRROR = JOINT_SETS["smpl24"].flip_permutation


class CharacterError(ValueError):
    """A character, or the map of its bones, that no motion can be put on; the message says why."""


@dataclass
class Character:
    """A rigged character.

    Attributes:
        file: the GLB it comes from.
        parents: node to the node above it.
        bones: node to the SMPL joint that turns it; several bones of a spine may have one joint.
        joints: SMPL's joints that have a bone, each with its node; of the spine only those.
        bind: node of each bone to its (4, 4) transform where the mesh was bound to it.
        axes: (3, 3) left, up and front of the character there, as columns.
        soles: (2,) how far the left and the right sole are along `up` there.
        unmapped: names of the skeleton's other bones, which keep their place.
    """

    file: Glb
    parents: dict[int, int]
    bones: dict[int, int]
    joints: dict[int, int]
    bind: dict[int, NDArray[np.float64]]
    axes: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    soles: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    unmapped: list[str] = field(default_factory=list)

    def name(self, node: int) -> str:
        return _name(self.file, node)

    def local(self, node: int) -> NDArray[np.float64]:
        """The node's transform (4, 4) in the node above it, as it stands in the file."""
        entry = self.file.tree["nodes"][node]
        matrix = np.eye(4)
        if "matrix" in entry:
            return np.array(entry["matrix"], float).reshape(4, 4).T
        turn = Rotation.from_quat(entry.get("rotation", [0, 0, 0, 1])).as_matrix()
        matrix[:3, :3] = turn * np.array(entry.get("scale", [1, 1, 1]), float)
        matrix[:3, 3] = entry.get("translation", [0, 0, 0])
        return matrix

    def set_local(self, node: int, matrix: NDArray[np.float64]) -> None:
        """Gives the node a transform (4, 4) of translation, rotation and scale: glTF animates no matrix."""
        entry = self.file.tree["nodes"][node]
        entry.pop("matrix", None)
        entry["translation"] = matrix[:3, 3].tolist()
        entry["rotation"] = Rotation.from_matrix(rotation_of(matrix)).as_quat().tolist()
        entry["scale"] = np.linalg.norm(matrix[:3, :3], axis=0).tolist()

    def chain(self, node: int) -> list[int]:
        """The node and those above it, from below."""
        found = [node]
        while found[-1] in self.parents:
            found.append(self.parents[found[-1]])
        return found

    def world(self, node: int) -> NDArray[np.float64]:
        """The node's transform (4, 4) in the scene, as it stands in the file."""
        matrix = np.eye(4)
        for each in self.chain(node):
            matrix = self.local(each) @ matrix
        return matrix


def rotation_of(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation (3, 3) in an evenly scaled transform (4, 4)."""
    return matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)


def read_character(path: Path, names: Mapping[str, str] | None = None) -> Character:
    """Reads a character and finds its bones by the names of RIGS or, in a VRM, by what the file says.

    The spine is whatever lies between hips and neck. Bones are taken where the mesh was bound to them,
    whatever pose the file was saved in.

    Args:
        path: a GLB or VRM.
        names: SMPL joint to bone; overrides what is found.

    Raises:
        CharacterError: there is no skin, no bone for the hips or the legs, or more than one skeleton; bones
            are scaled unevenly; the mesh is compressed; `names` has unknown joints or bones.
        ValueError: the file is not a GLB.
        OSError: it cannot be read.
    """
    file = Glb.read(path)
    try:
        return _character(file, path, dict(names or {}))
    except (KeyError, IndexError, TypeError, AttributeError, np.linalg.LinAlgError) as error:
        raise CharacterError(
            f"{path} is a damaged GLB ({type(error).__name__}: {error}); export the character again."
        ) from error


def read_names(path: Path) -> dict[str, str]:
    """A map of bones, a JSON object from SMPL's joints to names of bones.

    Raises:
        CharacterError: it is something else; names the file.
        OSError: it cannot be read.
    """
    require_regular_file(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CharacterError(f"{path} is not JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(bone, str) for bone in found.values()):
        raise CharacterError(f'{path}: expected an object such as {{"pelvis": "Bip01", "left_hip": "..."}}')
    return found


def _character(file: Glb, path: Path, names: dict[str, str]) -> Character:
    nodes, skins = file.tree.get("nodes", []), file.tree.get("skins", [])
    if not skins:
        raise CharacterError(
            f"{path} has no skin: its mesh has no bones to move it. Rig it first, for example with Mixamo."
        )
    if any("uri" in buffer for buffer in file.tree.get("buffers", [])):
        raise CharacterError(f"{path} keeps its numbers in other files: export it as one GLB.")
    parents = {child: i for i, node in enumerate(nodes) for child in node.get("children", [])}
    checked: set[int] = set()
    for start in range(len(nodes)):
        above: set[int] = set()
        node = start
        while node not in checked:
            if node in above:
                raise CharacterError(f"{path} is a damaged GLB (a node lies above itself); export it again.")
            above.add(node)
            if node not in parents:
                break
            node = parents[node]
        checked |= above
    character = Character(file, parents, {}, {}, {})
    skeleton = dict.fromkeys(joint for skin in skins for joint in skin["joints"])
    skeleton |= dict.fromkeys(above for joint in list(skeleton) for above in character.chain(joint))
    joints = _by_extension(file.tree) or _by_name(file, path, skeleton)
    joints |= _by_map(file, path, list(skeleton), names)
    _check_joints(file, path, joints, list(skeleton))
    top = joints.get(12, joints.get(15, -1))
    chain = character.chain(top)
    if joints[0] not in chain[1:]:
        raise CharacterError(f"{path}: the bone of the head, {character.name(top)}, is not above the hips'.")
    spine = chain[1 : chain.index(joints[0])][::-1]
    spine = [node for node in spine if node not in {v for k, v in joints.items() if k not in _SPINE}]
    joints = {joint: node for joint, node in joints.items() if joint not in _SPINE}
    # The last bone of the spine carries the shoulders, as spine3 does.
    levels = np.rint(np.linspace(0, 2, len(spine))).astype(int) if len(spine) > 1 else [2]
    bones = {node: joint for joint, node in joints.items()}
    bones |= {node: _SPINE[level] for node, level in zip(spine, levels, strict=False)}
    character.bones, character.joints = bones, joints
    _check_scales(character, path)
    _bind(character, path)
    moved = set(bones)
    character.unmapped = [
        character.name(node)
        for node in dict.fromkeys(j for skin in skins for j in skin["joints"])
        if node not in moved
    ]
    return character


def _name(file: Glb, node: int) -> str:
    return str(file.tree["nodes"][node].get("name", f"node {node}"))


def _by_extension(tree: dict[str, Any]) -> dict[int, int]:
    """What a VRM of version 1.0 or 0.x says about its bones: SMPL joint to node."""
    extensions = tree.get("extensions", {})
    if "VRMC_vrm" in extensions:
        found = extensions["VRMC_vrm"]["humanoid"]["humanBones"]
        nodes = {name: entry["node"] for name, entry in found.items()}
    elif "VRM" in extensions:
        nodes = {entry["bone"]: entry["node"] for entry in extensions["VRM"]["humanoid"]["humanBones"]}
    else:
        return {}
    return {k: nodes[bone] for k, bone in enumerate(RIGS["vrm"].bones) if bone in nodes}


def _by_name(file: Glb, path: Path, skeleton: Mapping[int, None]) -> dict[int, int]:
    """The bones that have the names of a rig, of that which has most: SMPL joint to node."""
    nodes: dict[str, list[int]] = {}
    for node in skeleton:
        nodes.setdefault(_plain(_name(file, node)), []).append(node)
    best: dict[int, list[int]] = {}
    for rig in RIGS.values():
        found = {k: nodes[_plain(bone)] for k, bone in enumerate(rig.bones) if _plain(bone) in nodes}
        if len(found) > len(best):
            best = found
    for joint, several in best.items():
        if len(several) > 1:
            numbers = ", ".join(map(str, several))
            raise CharacterError(
                f"{path} has {len(several)} skeletons, or bones of one name: {JOINTS[joint]} could be any of "
                f"the nodes {numbers} named {_name(file, several[0])}. Keep one character."
            )
    return {joint: node for joint, (node,) in best.items()}


def _plain(name: str) -> str:
    """A bone's name without what programs add or change: "mixamorig1:LeftArm" as "leftarm"."""
    return re.sub(r"^mixamorig\d*", "", re.sub(r"[^a-z0-9]", "", name.rsplit(":", 1)[-1].lower()))


def _by_map(file: Glb, path: Path, skeleton: list[int], names: dict[str, str]) -> dict[int, int]:
    """What the user's map says: SMPL joint to node."""
    unknown = sorted(set(names) - set(JOINTS))
    if unknown:
        raise CharacterError(
            f"the map names unknown joints: {', '.join(unknown)}. It takes {', '.join(JOINTS)}."
        )
    nodes: dict[str, list[int]] = {}
    for node in skeleton:
        nodes.setdefault(_name(file, node), []).append(node)
    missing = [bone for bone in names.values() if len(nodes.get(bone, [])) != 1]
    if missing:
        raise CharacterError(
            f"the map names bones that {path} does not have, or has twice: {', '.join(missing)}. Its bones "
            f"are {', '.join(nodes)}."
        )
    twice = [bone for bone in names.values() if list(names.values()).count(bone) > 1]
    if twice:
        raise CharacterError(f"the map gives {twice[0]} to more than one joint.")
    return {JOINTS.index(joint): nodes[bone][0] for joint, bone in names.items()}


def _check_joints(file: Glb, path: Path, joints: dict[int, int], skeleton: list[int]) -> None:
    missing = [JOINTS[joint] for joint in (0, *_LEGS) if joint not in joints]
    if 12 not in joints and 15 not in joints:
        missing.append("head")
    if missing:
        raise CharacterError(
            f"{path} has no bone known as {', '.join(missing)}: name them in a file for --map, such as "
            f'{{"{missing[0]}": "..."}}. Its bones are {", ".join(_name(file, node) for node in skeleton)}.'
        )


def _check_scales(character: Character, path: Path) -> None:
    """No node above a bone may be scaled unevenly or mirrored: its children would shear as it turns."""
    for node in dict.fromkeys(above for bone in character.bones for above in character.chain(bone)):
        scales = np.linalg.norm(character.local(node)[:3, :3], axis=0)
        if (
            not np.isfinite(scales).all()
            or scales.min() < 1e-9
            or scales.max() > 1.01 * scales.min()
            or np.linalg.det(character.local(node)[:3, :3]) < 0
        ):
            raise CharacterError(
                f"{path}: {character.name(node)} is scaled by {', '.join(f'{s:.3g}' for s in scales)}, not "
                "evenly or mirrored. Apply the scale (Ctrl+A in Blender) and export the character again."
            )


def _bind(character: Character, path: Path) -> None:
    """Finds where the bones are when the mesh is at rest, the character's axes there, and its soles."""
    file = character.file
    skins = [skin for skin in file.tree["skins"] if character.joints[0] in skin["joints"]]
    skins = sorted(skins or file.tree["skins"], key=lambda skin: -len(skin["joints"]))
    bound: dict[int, NDArray[np.float64]] = {}
    try:
        if "inverseBindMatrices" in skins[0]:
            inverse = file.values(skins[0]["inverseBindMatrices"]).swapaxes(1, 2)
            bound = {joint: np.linalg.inv(m) for joint, m in zip(skins[0]["joints"], inverse, strict=True)}
        if not set(character.bones) <= set(bound):  # a bone that moves no vertex
            bound = {node: character.world(node) for node in character.bones}
        character.bind = {node: bound[node] for node in character.bones}
        # Bones between those that move, for twist, go back to where the mesh was bound to them.
        for node in {above for bone in character.bones for above in character.chain(bone)} - set(
            character.bones
        ):
            above = character.parents.get(node, -1)
            if node in bound and above in bound:
                character.set_local(node, np.linalg.inv(bound[above]) @ bound[node])
        places = {joint: bound[node][:3, 3] for joint, node in character.joints.items()}
        pairs = [k for k in (1, 16) if {k, _MIRROR[k]} <= set(places)]
        left = np.sum([places[k] - places[_MIRROR[k]] for k in pairs], axis=0)
        up = places[12 if 12 in places else 15] - (places[7] + places[8]) / 2
        character.axes = _frame(left, up)
        soles = []
        for ankle in (7, 8):
            foot = {node for node in bound if character.joints[ankle] in character.chain(node)}
            points = list(_owned(file, skins[0], foot))
            heights = np.concatenate(points) @ character.axes[:, 1] if points else np.zeros(0)
            # Without a mesh at the feet: a tenth of the shin below the ankle.
            shin = np.linalg.norm(places[ankle] - places[ankle - 3])
            soles.append(heights.min() if len(heights) else places[ankle] @ character.axes[:, 1] - 0.1 * shin)
        character.soles = np.array(soles)
    except ValueError as error:
        raise CharacterError(f"{path}: {error}; export the character again, without compression.") from error


def _frame(left: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left, up and front as columns; along the axes of the file where they nearly are."""
    left = left / np.linalg.norm(left)
    up = up - (up @ left) * left
    up /= np.linalg.norm(up)
    found = np.stack((left, up, np.cross(left, up)), axis=1)
    snapped = np.where(np.abs(found) > np.cos(np.radians(20)), np.sign(found), 0.0)
    return snapped if abs(np.linalg.det(snapped)) == 1 else found


def _owned(file: Glb, skin: dict[str, Any], bones: set[int]) -> Iterator[NDArray[np.float64]]:
    """The vertices (V, 3) at rest that are moved most by some bones of a skin."""
    for node in file.tree["nodes"]:
        if (
            "mesh" not in node
            or "skin" not in node
            or file.tree["skins"][node["skin"]]["joints"] != skin["joints"]
        ):
            continue
        for primitive in file.tree["meshes"][node["mesh"]]["primitives"]:
            attributes = primitive["attributes"]
            if not {"POSITION", "JOINTS_0", "WEIGHTS_0"} <= set(attributes):
                continue
            joints = file.values(attributes["JOINTS_0"]).astype(int)
            weights = file.values(attributes["WEIGHTS_0"])
            owner = joints[np.arange(len(joints)), weights.argmax(1)]
            chosen = np.isin(np.array(skin["joints"])[owner], list(bones))
            if chosen.any():
                yield file.values(attributes["POSITION"])[chosen]
