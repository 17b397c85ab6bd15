"""Rigged characters of different proportions, rest poses and conventions, dressed from the wardrobe."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import PARENTS
from fullframe.export.glb import INDICES, VERTICES, Glb
from fullframe.export.rigs import RIGS
from fullframe.synth.wardrobe import load_wardrobe

COLORS = {"skin": (0.8, 0.55, 0.42), "hair": (0.12, 0.07, 0.04), "shoes": (0.1, 0.1, 0.12)}
CLOTHES = ((0.15, 0.3, 0.6), (0.6, 0.2, 0.15), (0.2, 0.45, 0.25), (0.75, 0.7, 0.6))


def rest_turns(arms: float = 0.0, spread: float = 0.0) -> np.ndarray:
    """Global rotations (24, 3, 3) from the T-pose: arms lowered and legs spread by degrees."""
    turns = np.tile(np.eye(3), (24, 1, 1))
    for side, sign in ((0, 1), (1, -1)):
        turns[[16 + side, 18 + side, 20 + side, 22 + side]] = Rotation.from_euler(
            "z", -sign * arms, degrees=True
        ).as_matrix()
        turns[[1 + side, 4 + side]] = Rotation.from_euler("z", sign * spread, degrees=True).as_matrix()
    return turns


def write_character(
    path: Path,
    body: BodyModel,
    names: tuple[str, ...],
    outfit: int,
    betas: tuple[float, ...] = (),
    stretch: tuple[float, float] = (1.0, 1.0),
    turns: np.ndarray | None = None,
    facing: float = 0.0,
    unit: float = 1.0,
    z_up: bool = False,
    extra_spine: bool = False,
    saved_pose: bool = False,
    extension: str = "",
) -> dict[str, np.ndarray]:
    """Writes a character; returns its joints (24, 3) at rest facing +z, metres, and its sole's height.

    Args:
        names: of the 24 bones.
        outfit: seed of the clothes.
        stretch: of arms and of legs.
        turns: as `rest_turns` gives.
        facing: degrees about the vertical that it is turned away from +z.
        unit: metres per unit of mesh and bones, with a scaled node above them.
        z_up: mesh and bones have z up, with a rotated node above them.
        extra_spine: two bones for the upper chest instead of one, and a twist bone in the left forearm.
        saved_pose: the nodes are saved in some other pose than that which the mesh is bound in.
        extension: "VRMC_vrm" or "VRM": bones are named there.
    """
    rng = np.random.default_rng(outfit)
    dressed = load_wardrobe().outfit(rng)
    shape = np.zeros(11)
    shape[: len(betas)] = betas
    joints = body.data.joint_regressor @ (body.data.template + body.data.shape_dirs[..., :11] @ shape)
    vertices = dressed.vertices + dressed.shape_dirs @ shape
    joints, vertices = _stretched(joints, *stretch, joints), _stretched(vertices, *stretch, joints)
    turns = rest_turns() if turns is None else turns
    placed = joints.copy()
    for joint in range(1, 24):
        parent = PARENTS[joint]
        placed[joint] = placed[parent] + turns[parent] @ (joints[joint] - joints[parent])
    offsets = placed - np.einsum("kab,kb->ka", turns, joints)
    moved = np.einsum("vkab,vb->vka", turns[dressed.bone], vertices) + offsets[dressed.bone]
    vertices = (dressed.share[..., None] * moved).sum(1)
    floor = vertices[:, 1].min()
    vertices[:, 1] -= floor
    placed[:, 1] -= floor

    around = Rotation.from_euler("y", facing, degrees=True).as_matrix()
    world = np.tile(np.eye(4), (24, 1, 1))
    world[:, :3, 3] = placed @ around.T
    world[:, :3, :3] = around @ turns @ Rotation.random(24, random_state=outfit).as_matrix()
    armature = np.eye(4)
    if z_up:
        armature[:3, :3] = Rotation.from_euler("x", -90, degrees=True).as_matrix()
    armature[:3, :3] *= unit
    inside = np.linalg.inv(armature)

    file = Glb()
    nodes: list[dict] = []
    order: list[tuple[str, int, np.ndarray]] = []  # name, parent in order, transform in the armature
    index: dict[int, int] = {}
    for joint in range(24):
        parent = index[PARENTS[joint]] if joint else -1
        matrix = inside @ world[joint]
        matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
        if extra_spine and joint == 9:
            below = matrix.copy()
            below[:3, 3] = (order[parent][2][:3, 3] + matrix[:3, 3]) / 2
            order.append(("chest_between", parent, below))
            parent = len(order) - 1
        if extra_spine and joint == 20:
            twist = matrix.copy()
            twist[:3, 3] = (order[parent][2][:3, 3] + matrix[:3, 3]) / 2
            order.append(("forearm_twist", parent, twist))
            parent = len(order) - 1
        index[joint] = len(order)
        order.append((names[joint], parent, matrix))
    root = file.add("nodes", {"name": "Armature", "matrix": armature.T.reshape(-1).tolist(), "children": []})
    for name, parent, matrix in order:
        local = matrix if parent < 0 else np.linalg.inv(order[parent][2]) @ matrix
        if saved_pose and parent >= 0:
            local[:3, :3] = local[:3, :3] @ Rotation.random(random_state=len(nodes)).as_matrix()
        entry = {
            "name": name,
            "translation": local[:3, 3].tolist(),
            "rotation": Rotation.from_matrix(local[:3, :3]).as_quat().tolist(),
        }
        nodes.append(entry)
        node = file.add("nodes", entry)
        above = file.tree["nodes"][root] if parent < 0 else nodes[parent]
        above.setdefault("children", []).append(node)
    inverse = np.stack([np.linalg.inv(matrix) for _, _, matrix in order]).swapaxes(1, 2).astype(np.float32)
    skin = {"joints": list(range(1, 1 + len(order))), "inverseBindMatrices": file.array(inverse)}
    file.add("skins", skin)
    bound = (vertices @ around.T) @ inside[:3, :3].T + inside[:3, 3]
    attributes = {
        "POSITION": file.array(bound.astype(np.float32), VERTICES, bounds=True),
        "JOINTS_0": file.array(np.array([index[k] for k in range(24)], np.uint8)[dressed.bone], VERTICES),
        "WEIGHTS_0": file.array(dressed.share.astype(np.float32), VERTICES),
    }
    primitives = []
    for number, surface in enumerate(dressed.surfaces):
        chosen = dressed.faces[dressed.face_surface == number]
        if len(chosen):
            color = COLORS.get(surface.kind, CLOTHES[(outfit + number) % len(CLOTHES)])
            material = {"pbrMetallicRoughness": {
                "baseColorFactor": [*color, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8
            }}  # fmt: skip
            primitives.append({
                "attributes": attributes,
                "indices": file.array(chosen.astype(np.uint32).ravel(), INDICES),
                "material": file.add("materials", material),
            })  # fmt: skip
    mesh = file.add(
        "nodes", {"name": "body", "mesh": file.add("meshes", {"primitives": primitives}), "skin": 0}
    )
    file.add("scenes", {"nodes": [root, mesh]})
    bones = {bone: 1 + index[k] for k, bone in enumerate(RIGS["vrm"].bones)}
    if extension == "VRM":
        entries = [{"bone": bone, "node": node} for bone, node in bones.items()]
        file.use_extension("VRM", {"humanoid": {"humanBones": entries}})
    elif extension:
        file.use_extension(
            extension, {"humanoid": {"humanBones": {bone: {"node": node} for bone, node in bones.items()}}}
        )
    path.write_bytes(file.content())
    return {"joints": placed, "turns": turns}


def _stretched(points: np.ndarray, arms: float, legs: float, joints: np.ndarray) -> np.ndarray:
    """Points with longer arms (beyond the shoulders) and legs (below the hips)."""
    result = points.copy()
    shoulder, hip = abs(joints[16, 0]), joints[1, 1]
    beyond = np.abs(points[:, 0]) - shoulder
    out = (beyond > 0) & (points[:, 1] > hip)
    result[out, 0] = np.sign(points[out, 0]) * (shoulder + arms * beyond[out])
    below = points[:, 1] < hip
    result[below, 1] = hip + legs * (points[below, 1] - hip)
    return result


def stylized(folder: Path, body: BodyModel) -> dict[str, tuple[Path, dict[str, np.ndarray]]]:
    """Three characters: Mixamo's names in cm with z up and a T-pose; Unreal's with short limbs, an A-pose,
    more bones and saved in another pose; a VRM whose arms hang, with long limbs and its back to the front."""
    mixamo = tuple(name.replace(":", "") for name in RIGS["mixamo"].bones)
    nameless = tuple(f"J_{k}" for k in range(24))
    long, short, hanging, lowered = (1.2, 1.25), (0.7, 0.6), rest_turns(80), rest_turns(45, 6)
    of_unreal = {"names": RIGS["unreal"].bones, "outfit": 4, "stretch": short, "turns": lowered}
    of_vrm = {"names": nameless, "outfit": 6, "stretch": long, "turns": hanging}
    made: dict[str, dict] = {
        "mixamo": {"names": mixamo, "outfit": 1, "betas": (1.5,), "unit": 0.01, "z_up": True},
        "unreal": of_unreal | {"extra_spine": True, "saved_pose": True},
        "vrm": of_vrm | {"facing": 180, "extension": "VRM"},
    }
    return {
        name: (folder / f"{name}.glb", write_character(folder / f"{name}.glb", body, **options))
        for name, options in made.items()
    }
