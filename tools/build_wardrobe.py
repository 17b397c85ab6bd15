"""Builds src/fullframe/assets/wardrobe.npz: clothes, hair, shoes and skins for the open body (all CC0).

    pip install -e .[assets] fast_simplification==0.2.0
    python tools/build_wardrobe.py    # 3 minutes on one core

It needs MakeHuman's CC0 assets (skins, clothes, hair, eyes) in FULLFRAME_SHARED/data/makehuman. The same
versions on the same machine give the same bytes. The steps:

1. MakeHuman's whole mesh hm08, with the helper geometry that its garments hang on, is put in SMPL's T-pose
   for a sample of people as build_open_body.py does; regression on their betas gives the mean and the shape
   directions of every helper vertex.
2. A garment follows its triangles of that mesh (.mhclo), in shape and in skinning.
3. Outfits modelled as one mesh are taken apart into tops and bottoms, so that they can be mixed.
4. More clothes are cut out of the body's own surface, smoothed and moved outwards.
5. Rays from the skin find the body's vertices that a garment covers; they are not drawn under it.
"""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import anny
import cv2
import fast_simplification
import numba
import numpy as np
import torch
from anny.models.model_data import TopologyConfig
from build_open_body import (
    BONES,
    NAMES,
    Source,
    draw_people,
    t_pose,
    write_npz,
)
from scipy.sparse import coo_matrix, csr_matrix, diags, vstack
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from fullframe.assets import OPEN_BODY, WARDROBE
from fullframe.body.files import BodyData, read_body

REPOSITORY = Path(__file__).resolve().parents[1]
MAKEHUMAN = Path(os.environ.get("FULLFRAME_SHARED", REPOSITORY.parent / "shared")) / "data/makehuman"

NUM_ADULTS, NUM_KIDS = 400, 120
TEXTURE_SIZE = 512
MAX_FACES = 6000
OFFSET_UNIT = 5e-5  # metres per step of the stored positions

SUITS: dict[str, tuple[str, list[str]]] = {
    "female_casualsuit01": ("female", ["top", "bottom"]),
    "female_casualsuit02": ("female", ["bottom", "top", "bottom"]),
    "female_elegantsuit01": ("female", ["top", "bottom"]),
    "female_sportsuit01": ("female", ["top", "bottom"]),
    "male_casualsuit02": ("male", ["top", "bottom"]),
    "male_casualsuit03": ("male", ["top", "bottom"]),
    "male_casualsuit04": ("male", ["", "top"]),
    "male_casualsuit05": ("male", ["top", "", "top", "top"]),
    "male_casualsuit06": ("male", ["top", ""]),
    "male_elegantsuit01": ("male", ["top", "bottom"]),
    "male_worksuit01": ("any", ["suit"] * 6),
}
"""MakeHuman's outfits: the sex they are cut for, and a kind for each part of the mesh, largest first.

Parts without a kind are left out: nearly all of MakeHuman's men wear the same jeans."""


@dataclass
class Piece:
    """A garment in the T-pose of the mean body. P positions, V corners (a position and its uv), F faces."""

    name: str
    kind: str
    sex: str
    position: np.ndarray  # (P, 3)
    shape_dirs: np.ndarray  # (P, 3, 11)
    weights: np.ndarray  # (P, 24)
    weld: np.ndarray  # (V,) position of each corner
    uv: np.ndarray  # (V, 2) origin at the texture's lower left
    faces: np.ndarray  # (F, 3) into the corners
    material: np.ndarray  # (F,)
    texture: np.ndarray | None = None  # (H, W, 3) RGB
    covers: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # (6700,)

    @property
    def triangles(self) -> np.ndarray:
        """(F, 3) into the positions."""
        return self.weld[self.faces]


@dataclass
class Base:
    """MakeHuman's hm08, helpers included (19158 vertices), as the open body's mean adult."""

    rest: np.ndarray  # (N, 3) MakeHuman's rest pose
    rest_dirs: np.ndarray  # (N, 3, 11)
    posed: np.ndarray  # (N, 3) T-pose
    posed_dirs: np.ndarray  # (N, 3, 11)
    weights: np.ndarray  # (N, 24)
    rotations: np.ndarray  # (24, 3, 3) from rest pose to T-pose


def load_hm08() -> Source:
    """Anny with all of hm08's vertices."""
    model = anny.Anny(
        rig="anny",
        topology=TopologyConfig(
            "makehuman", nudity_edits=False, remove_unattached_vertices=False, triangulate_faces=False,
            eyes=True, tongue=False,
        ),
        local_changes="default",
        phenotypes="all",
        phenotype_blendshapes="original",
        skinning_method="lbs",
    )  # fmt: skip
    count = len(model.template_vertices)
    return Source(
        model=model,
        index=np.arange(count),
        faces=np.zeros((0, 3), int),
        uv=np.zeros((0, 2)),
        uv_faces=np.zeros((0, 3), int),
        mirror=hm08_mirror(count),
        weights=model.dense_vertex_bone_weights.numpy(),
        blendshapes=model.blendshapes.numpy().astype(np.float32).reshape(len(model.blendshapes), -1),
    )


def hm08_mirror(count: int) -> np.ndarray:
    mirror = np.arange(count)
    file = Path(anny.__file__).parent / "data/mpfb2/mesh_metadata/hm08.mirror"
    for line in file.read_text().splitlines():
        words = line.split()
        if len(words) >= 2:
            mirror[int(words[0])] = int(words[1])
    return mirror


def fit_base(source: Source, body: BodyData, index: np.ndarray) -> Base:
    """The open body's mean and shape directions for all of hm08; `index`: the body's vertices in hm08."""
    adults = draw_people(source, NUM_ADULTS, (18, 80), seed=1)
    kids = draw_people(source, NUM_KIDS, (2, 8), seed=2)
    mean_heads = adults.heads.mean(0)
    posed = [t_pose(source, people, mean_heads) for people in (adults, kids)]
    vertices = np.concatenate([people.vertices for people in posed])
    rest = np.concatenate([people.rest.vertices for people in posed])

    # Each person's betas, then all vertices as a linear function of betas.
    basis = body.shape_dirs.astype(np.float64).reshape(-1, 11)
    targets = (vertices[:, index] - body.template).reshape(len(vertices), -1)
    betas = np.linalg.lstsq(basis, targets.T, rcond=None)[0].T
    design = np.column_stack((np.ones(len(betas)), betas))

    def regressed(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        solved = np.linalg.lstsq(design, points.reshape(len(points), -1), rcond=None)[0]
        return solved[0].reshape(-1, 3), solved[1:].T.reshape(-1, 3, 11)

    posed_mean, posed_dirs = regressed(vertices)
    error = np.linalg.norm(posed_mean[index] - body.template, axis=1)
    assert error.max() < 0.006, error.max()
    rest_mean, rest_dirs = regressed(rest)
    weights = np.zeros((len(source.index), 24))
    for bone, joint in enumerate(source.group):
        weights[:, joint] += source.weights[:, bone]
    transforms = posed[0].transforms.mean(0)
    rotations = np.stack([transforms[source.group == k][0, :3, :3] for k in range(24)])
    return Base(rest_mean, rest_dirs, posed_mean, posed_dirs, weights, rotations)


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions (P, 3), uv (T, 2), triangles (F, 3) and their uv (F, 3)."""
    positions, uv, faces, uv_faces = [], [], [], []
    for line in path.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            positions.append([float(word) for word in words[1:4]])
        elif words[0] == "vt":
            uv.append([float(word) for word in words[1:3]])
        elif words[0] == "f":
            corners = np.array([[int(n) for n in word.split("/")[:2]] for word in words[1:]]) - 1
            for k in range(1, len(corners) - 1):
                faces.append(corners[[0, k, k + 1], 0])
                uv_faces.append(corners[[0, k, k + 1], 1])
    return np.array(positions), np.array(uv), np.array(faces), np.array(uv_faces)


def bind(path: Path, base: Base) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T-posed positions (P, 3), shape directions (P, 3, 11), weights (P, 24) of a garment's .mhclo.

    Each of its vertices is a mean of three of hm08's plus an offset, in units that grow with the body.
    """
    scales: dict[str, tuple[int, int, float]] = {}
    rows: list[list[float]] = []
    reading = False
    for line in path.read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("x_scale", "y_scale", "z_scale"):
            scales[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0] == "verts":
            reading = True
        elif words[0] == "delete_verts":
            reading = False
        elif reading and words[0].isdigit():
            values = [float(word) for word in words]
            rows.append(values if len(values) == 9 else [values[0]] * 3 + [1, 0, 0, 0, 0, 0])
    table = np.array(rows)
    corners, shares, offsets = table[:, :3].astype(int), table[:, 3:6], table[:, 6:]

    scale, scale_dirs = np.ones(3), np.zeros((3, 11))
    for axis, (a, b, length) in ((("xyz").index(name), value) for name, value in scales.items()):
        span = base.rest[a, axis] - base.rest[b, axis]
        scale[axis] = abs(span) * 10 / length
        scale_dirs[axis] = np.sign(span) * (base.rest_dirs[a, axis] - base.rest_dirs[b, axis]) * 10 / length
    offsets = offsets * 0.1  # MakeHuman's unit is the decimetre
    positive = np.maximum(shares, 0)
    positive /= positive.sum(1, keepdims=True)
    weights = np.einsum("pk,pkj->pj", positive, base.weights[corners])
    weights /= weights.sum(1, keepdims=True)
    blended = np.einsum("pj,jab->pab", weights, base.rotations)
    left, _, right = np.linalg.svd(blended)
    turn = left @ right
    position = np.einsum("pk,pkc->pc", shares, base.posed[corners])
    position += np.einsum("pab,pb->pa", turn, offsets * scale)
    dirs = np.einsum("pk,pkcb->pcb", shares, base.posed_dirs[corners])
    dirs += np.einsum("pac,pc,cb->pab", turn, offsets, scale_dirs)
    if path.with_suffix(".mhw").is_file():
        weights = read_weights(path.with_suffix(".mhw"), len(position))
    return position, dirs, weights


def read_weights(path: Path, count: int) -> np.ndarray:
    """(P, 24) skinning weights that a garment brings along."""
    joint_of = {bone: NAMES.index(joint) for joint, bones in BONES.items() for bone in bones}
    weights = np.zeros((count, 24))
    for bone, rows in json.loads(path.read_text())["weights"].items():
        for vertex, weight in rows:
            weights[vertex, joint_of[bone]] += weight
    return weights / weights.sum(1, keepdims=True)


def make_piece(
    name: str, kind: str, sex: str, bound: tuple[np.ndarray, np.ndarray, np.ndarray],
    uv: np.ndarray, faces: np.ndarray, uv_faces: np.ndarray,
) -> Piece:  # fmt: skip
    """Keeps the positions that `faces` use and splits them where uv jumps."""
    position, dirs, weights = bound
    pairs, corner = np.unique(
        np.column_stack((faces.reshape(-1), uv_faces.reshape(-1))), axis=0, return_inverse=True
    )
    used, weld = np.unique(pairs[:, 0], return_inverse=True)
    return Piece(
        name, kind, sex, position[used], dirs[used], weights[used],
        weld.reshape(-1), np.clip(uv[pairs[:, 1]], 0, 1), corner.reshape(-1, 3), np.zeros(len(faces), int),
    )  # fmt: skip


def parts_of(faces: np.ndarray, count: int) -> list[np.ndarray]:
    """The faces of each connected part of a mesh, parts with the most faces first."""
    edges = np.concatenate((faces[:, :2], faces[:, 1:]))
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    label = connected_components(graph, directed=False)[1][faces[:, 0]]
    names, counts = np.unique(label, return_counts=True)
    return [np.flatnonzero(label == names[i]) for i in np.argsort(-counts, kind="stable")]


def suit_pieces(base: Base) -> list[Piece]:
    pieces = []
    for suit, (sex, kinds) in SUITS.items():
        folder = MAKEHUMAN / "clothes" / suit
        bound = bind(folder / f"{suit}.mhclo", base)
        positions, uv, faces, uv_faces = read_obj(folder / f"{suit}.obj")
        parts = parts_of(faces, len(positions))
        texture = read_texture(folder)
        for kind in dict.fromkeys(kinds):
            if not kind:
                continue
            chosen = [part for part, k in zip(parts, kinds, strict=False) if k == kind]
            which = np.concatenate(chosen)
            material = np.repeat(np.minimum(np.arange(len(chosen)), 3), [len(part) for part in chosen])
            piece = make_piece(f"{suit}_{kind}", kind, sex, bound, uv, faces[which], uv_faces[which])
            piece.material = material
            if piece.name == "female_elegantsuit01_bottom":
                smooth_skirt(piece)
            if len(which) > MAX_FACES:
                piece = simplified(piece, MAX_FACES)
            set_texture(piece, texture)
            pieces.append(piece)
    return pieces


def smooth_skirt(piece: Piece) -> None:
    """Lets the middle of a skirt hang between the legs instead of following the crotch."""
    mean = neighbour_means(piece.triangles, len(piece.position))
    hangs = (piece.position[:, 1] < 0)[:, None]
    for _ in range(40):
        piece.weights = np.where(hangs, (piece.weights + mean @ piece.weights) / 2, piece.weights)
        flat = piece.shape_dirs.reshape(len(piece.position), -1)
        flat = np.where(hangs, (flat + mean @ flat) / 2, flat)
        piece.shape_dirs = flat.reshape(piece.shape_dirs.shape)
    middle = hangs[:, 0] & (np.abs(piece.position[:, 0]) < 0.06)
    for _ in range(10):
        moved = (piece.position + mean @ piece.position) / 2
        piece.position[middle] = moved[middle]


def neighbour_means(triangles: np.ndarray, count: int) -> csr_matrix:
    """(P, P) takes the mean over a position's neighbours; along the border only over those on it."""
    edges = np.concatenate((triangles[:, :2], triangles[:, 1:], triangles[:, ::2]))
    both = np.concatenate((edges, edges[:, ::-1]))
    graph = csr_matrix(coo_matrix((np.ones(len(both)), both.T), shape=(count, count)))
    border = graph.multiply(graph == 1)  # edges of one face only
    inner = np.asarray(border.sum(1)).reshape(-1) == 0
    steps = diags(inner.astype(float)) @ (graph > 0).astype(float) + border
    return csr_matrix(diags(1 / np.maximum(np.asarray(steps.sum(1)).reshape(-1), 1)) @ steps)


def other_pieces(base: Base) -> list[Piece]:
    pieces = []
    for path in sorted((MAKEHUMAN / "clothes").glob("shoes*/*.mhclo")):
        pieces.append(whole_piece(path, "shoes", "any", base))
        set_texture(pieces[-1], read_texture(path.parent))
    for color in EYES:
        pieces.append(whole_piece(MAKEHUMAN / "eyes/low-poly/low-poly.mhclo", "eyes", "any", base))
        pieces[-1].name = f"eyes_{color}"
        image = cv2.imread(str(MAKEHUMAN / f"eyes/materials/{color}_eye.png"))[..., ::-1]
        set_texture(pieces[-1], np.ascontiguousarray(image))
        pieces[-1].texture = cv2.resize(pieces[-1].texture, (128, 128), interpolation=cv2.INTER_AREA)
    for path in sorted((MAKEHUMAN / "clothes").glob("fedora*/*.mhclo")):
        pieces.append(whole_piece(path, "hat", "any", base))
        set_texture(pieces[-1], None)
    return pieces


def whole_piece(path: Path, kind: str, sex: str, base: Base) -> Piece:
    _, uv, faces, uv_faces = read_obj(next(path.parent.glob("*.obj")))
    return make_piece(path.stem, kind, sex, bind(path, base), uv, faces, uv_faces)


EYES = ("brown", "brownlight", "blue", "green", "grey")

HAIR = {
    "afro01": "any", "bob02": "female", "braid01": "female", "long01": "female",
    "ponytail01": "female", "short01": "male", "short02": "male", "short03": "female", "short04": "any",
}  # fmt: skip


def hair_pieces(base: Base) -> list[Piece]:
    pieces = []
    for name, sex in HAIR.items():
        path = MAKEHUMAN / "hair" / name / f"{name}.mhclo"
        _, uv, faces, uv_faces = read_obj(path.with_suffix(".obj"))
        texture = read_texture(path.parent)
        if texture is not None and texture.shape[2] == 4:
            opaque = texture_at(texture[..., 3:], uv[uv_faces].mean(1))[:, 0]
            corners = texture_at(texture[..., 3:], uv[uv_faces].reshape(-1, 2)).reshape(-1, 3).mean(1)
            kept = (opaque + corners) / 2 > 110
            faces, uv_faces = faces[kept], uv_faces[kept]
        piece = make_piece(name, "hair", sex, bind(path, base), uv, faces, uv_faces)
        if len(piece.faces) > MAX_FACES:
            piece = simplified(piece, MAX_FACES)
        set_texture(piece, texture)
        if texture is None:
            piece.texture = CURLS
        pieces.append(piece)
    return pieces


def read_texture(folder: Path) -> np.ndarray | None:
    """RGB or RGBA, (H, W, C) uint8."""
    for path in sorted([*folder.glob("*_diffuse.jpg"), *folder.glob("*_diffuse.png")]):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return None


def texture_at(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    height, width = texture.shape[:2]
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return texture[row, column].astype(float).reshape(len(uv), -1)


def set_texture(piece: Piece, image: np.ndarray | None) -> None:
    """Crops the texture to what the piece shows, and fills what it does not show with colours nearby."""
    if image is None:
        piece.texture = CLOTH
        return
    height, width = image.shape[:2]
    known = np.zeros((height, width), np.uint8)
    for triangle in piece.uv[piece.faces] * [width, -height] + [0, height]:
        cv2.fillConvexPoly(known, np.round(triangle).astype(np.int32), 1)
    shown = known > 0
    if image.shape[2] == 4:
        shown &= image[..., 3] > 127
    low = np.clip(np.floor(piece.uv.min(0) * [width, height]) - 4, 0, None).astype(int)
    high = np.minimum(np.ceil(piece.uv.max(0) * [width, height]).astype(int) + 4, [width, height])
    piece.uv = (piece.uv * [width, height] - low) / (high - low)
    crop = spread(image[..., :3], shown)[height - high[1] : height - low[1], low[0] : high[0]]
    side = 2 ** np.ceil(np.log2(np.clip(crop.shape[:2], 64, TEXTURE_SIZE)) - 0.2).astype(int)
    piece.texture = cv2.resize(crop, tuple(int(n) for n in side[::-1]), interpolation=cv2.INTER_AREA)


def spread(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colours where they are not known are those nearby."""
    result = image.astype(np.float32) * known[..., None]
    weight = known.astype(np.float32)
    out = image.copy()
    filled = known.copy()
    for size in (9, 33, 129, 513):
        blurred, share = cv2.blur(result, (size, size)), cv2.blur(weight, (size, size))
        new = ~filled & (share > 1e-4)
        out[new] = np.clip(blurred[new] / share[new, None], 0, 255)
        filled |= new
    return out


def simplified(piece: Piece, count: int) -> Piece:
    """Fewer faces by quadric edge collapse; attributes come from the nearest point of the original."""
    triangles = piece.triangles
    points, faces = fast_simplification.simplify(
        piece.position.astype(np.float32), triangles.astype(np.int32), target_count=count
    )
    # Each new face takes its island of uv from the nearest old face whose normal agrees.
    island = np.zeros(len(piece.faces), int)
    for i, part in enumerate(parts_of(piece.faces, len(piece.weld))):
        island[part] = i
    old_centre = piece.position[triangles].mean(1)
    old_normal = face_normals(piece.position, triangles)
    normal = face_normals(points, faces)
    _, candidates = cKDTree(old_centre).query(points[faces].mean(1), k=12)
    distance = np.linalg.norm(old_centre[candidates] - points[faces].mean(1)[:, None], axis=2)
    agreement = (old_normal[candidates] * normal[:, None]).sum(2)
    best = np.argmin(distance + 0.02 * (1 - agreement), axis=1)
    owner = candidates[np.arange(len(best)), best]
    key = island[owner] * 4 + piece.material[owner]
    corners, inverse = np.unique(
        np.column_stack((faces.reshape(-1), np.repeat(key, 3))), axis=0, return_inverse=True
    )
    uv = np.zeros((len(corners), 2))
    source_key = island * 4 + piece.material
    for value in np.unique(corners[:, 1]):
        mine = corners[:, 1] == value
        sub = np.flatnonzero(source_key == value)
        face, share = closest_points(points[corners[mine, 0]], piece.position[triangles[sub]])
        uv[mine] = np.einsum("nk,nkc->nc", share, piece.uv[piece.faces[sub[face]]])
    face, share = closest_points(points, piece.position[triangles])
    old = triangles[face]
    return Piece(
        piece.name, piece.kind, piece.sex, points.astype(np.float64),
        np.einsum("nk,nkcb->ncb", share, piece.shape_dirs[old]),
        np.einsum("nk,nkj->nj", share, piece.weights[old]),
        corners[:, 0], uv, inverse.reshape(-1, 3), piece.material[owner],
    )  # fmt: skip


def closest_points(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For points (N, 3) the nearest of triangles (F, 3, 3), and the nearest point's barycentric (N, 3)."""
    count = min(16, len(triangles))
    _, near = cKDTree(triangles.mean(1)).query(points, k=count)
    near = np.asarray(near).reshape(len(points), count)
    a, b, c = np.moveaxis(triangles[near], 2, 0)
    u, v, w = b - a, c - a, points[:, None] - a
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    wu, wv = (w * u).sum(-1), (w * v).sum(-1)
    det = np.maximum(uu * vv - uv * uv, 1e-18)
    s, t = (vv * wu - uv * wv) / det, (uu * wv - uv * wu) / det
    share = np.stack((1 - s - t, s, t), -1)
    share = np.maximum(share, 0)
    share /= share.sum(-1, keepdims=True)
    spot = np.einsum("nfk,nfkc->nfc", share, np.stack((a, b, c), 2))
    best = np.argmin(np.linalg.norm(spot - points[:, None], axis=2), axis=1)[:, None]
    return np.take_along_axis(near, best, 1)[:, 0], np.take_along_axis(share, best[..., None], 1)[:, 0]


def face_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = points[faces].swapaxes(0, 1)
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def vertex_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = points[faces].swapaxes(0, 1)
    normal = np.zeros(points.shape)
    for k in range(3):
        np.add.at(normal, faces[:, k], np.cross(b - a, c - a))
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


@dataclass
class Sheet:
    """A cut-out of the body's surface: C corners that are blends of the body's vertices.

    Attributes:
        blend: (C, 6700) sparse, rows sum to 1.
        uv: (C, 2).
        place: (C,) equal for corners at the same place.
        faces: (F, 3) into the corners.
        material: (F,).
    """

    blend: csr_matrix
    uv: np.ndarray
    place: np.ndarray
    faces: np.ndarray
    material: np.ndarray


def whole_skin(body: BodyData) -> Sheet:
    uv, uv_faces = body.uv
    vertex = np.zeros(len(uv), int)
    vertex[uv_faces] = body.faces
    ones = np.ones(len(uv))
    blend = csr_matrix((ones, (np.arange(len(uv)), vertex)), shape=(len(uv), len(body.template)))
    return Sheet(blend, uv.astype(np.float64), vertex, uv_faces, np.zeros(len(uv_faces), int))


def split(sheet: Sheet, field: np.ndarray) -> tuple[Sheet, np.ndarray]:
    """Cuts faces along the zero of a field (C,) of the corners, and which faces (F,) are above it."""
    field = np.where(np.abs(field) < 1e-4, 1e-4, field)
    above = field[sheet.faces] > 0
    whole = above.all(1) | ~above.any(1)
    faces, material = list(sheet.faces[whole]), list(sheet.material[whole])
    side = list(above[whole, 0])
    new: dict[tuple[int, int], int] = {}
    new_places: dict[tuple[int, int], int] = {}
    ends, shares, places = [], [], []

    def on_edge(a: int, b: int) -> int:
        a, b = min(a, b), max(a, b)
        if (a, b) not in new:
            new[a, b] = len(sheet.uv) + len(ends)
            p, q = sorted((int(sheet.place[a]), int(sheet.place[b])))
            places.append(new_places.setdefault((p, q), int(sheet.place.max()) + 1 + len(new_places)))
            ends.append((a, b))
            shares.append(field[a] / (field[a] - field[b]))
        return new[a, b]

    for face, sign, m in zip(sheet.faces[~whole], above[~whole], sheet.material[~whole], strict=True):
        odd = int(np.argmax(sign == (sign.sum() == 1)))  # the corner that is alone on its side
        a, b, c = (int(face[(odd + k) % 3]) for k in range(3))
        ab, ac = on_edge(a, b), on_edge(a, c)
        faces += [np.array(f) for f in ((a, ab, ac), (ab, b, c), (ab, c, ac))]
        side += [bool(sign[odd]), not sign[odd], not sign[odd]]
        material += [m] * 3
    if ends:
        a, b = np.array(ends).T
        t = np.array(shares)[:, None]
        blend = sheet.blend[a].multiply(1 - t) + sheet.blend[b].multiply(t)
        sheet = replace(
            sheet,
            blend=csr_matrix(vstack((sheet.blend, blend))),
            uv=np.concatenate((sheet.uv, sheet.uv[a] * (1 - t) + sheet.uv[b] * t)),
            place=np.concatenate((sheet.place, places)),
        )
    sheet = replace(sheet, faces=np.array(faces), material=np.array(material))
    return sheet, np.array(side)


def clip(sheet: Sheet, field: np.ndarray) -> Sheet:
    """What lies above the zero of a field."""
    sheet, above = split(sheet, field)
    return replace(sheet, faces=sheet.faces[above], material=sheet.material[above])


class Figure:
    """Places on the mean body in T-pose, from which the cuts of clothes are measured."""

    def __init__(self, body: BodyData) -> None:
        joints = dict(zip(NAMES, body.joint_regressor @ body.template, strict=True))
        height = {name: float(joint[1]) for name, joint in joints.items()}
        self.neck = joints["neck"]
        self.shoulder, self.elbow, self.wrist = (
            float(abs(joints["left_" + name][0])) for name in ("shoulder", "elbow", "wrist")
        )
        self.chest = height["spine3"]
        self.hip, self.knee, self.ankle = (height["left_" + name] for name in ("hip", "knee", "ankle"))
        self.shoulder_joint = joints["left_shoulder"]

    def arm(self, share: float) -> float:
        """|x| a share of the way from shoulder (0) over elbow (1) to wrist (2)."""
        return float(np.interp(share, (0, 1, 2), (self.shoulder, self.elbow, self.wrist)))

    def leg(self, share: float) -> float:
        """y a share of the way from hip (0) over knee (1) to ankle (2)."""
        thigh = self.hip - self.knee
        return float(np.interp(share, (-1, 0, 1, 2), (self.hip + thigh, self.hip, self.knee, self.ankle)))


@dataclass
class Cut:
    """A garment cut out of the skin. Lengths as in Figure.arm and Figure.leg; None leaves the limb out.

    Attributes:
        sleeve: where it ends.
        hem: where a top ends, or a bottom's legs.
        waist: metres above the hips where a bottom begins; None for tops and suits.
        neck: "crew", "wide", "v", "high" or "tank".
        gap: metres from the skin; flare: further ones at the hem and the cuffs.
        smooth: rounds of smoothing: many let the cloth hang over the hollows of the body.
        block: a part in another colour: "sleeves", "yoke", "side" or "".
    """

    kind: str
    sex: str = "any"
    sleeve: float | None = None
    hem: float = 0.0
    waist: float | None = None
    neck: str = "crew"
    gap: float = 0.008
    flare: float = 0.0
    smooth: int = 20
    block: str = ""


CUTS = {
    "tshirt": Cut("top", sleeve=0.6, hem=0.0, gap=0.012, flare=0.012, smooth=40),
    "tshirt_v": Cut("top", sleeve=0.45, hem=-0.04, neck="v", gap=0.009, flare=0.006, smooth=30),
    "tshirt_long": Cut("top", sleeve=0.8, hem=0.06, gap=0.018, flare=0.02, smooth=60, block="yoke"),
    "baseball_shirt": Cut("top", sleeve=1.3, hem=0.02, gap=0.012, flare=0.01, smooth=40, block="sleeves"),
    "tank_top": Cut("top", sleeve=-0.25, hem=-0.06, neck="tank", gap=0.006, flare=0.004, smooth=15),
    "sleeveless": Cut("top", sleeve=0.0, hem=-0.03, neck="wide", gap=0.008, flare=0.006, smooth=25),
    "crop_top": Cut("top", "female", sleeve=0.35, hem=-0.45, neck="wide", gap=0.006, smooth=10),
    "sports_bra": Cut("top", "female", sleeve=-0.25, hem=-0.72, neck="tank", gap=0.004, smooth=8),
    "long_sleeve": Cut("top", sleeve=1.95, hem=-0.05, gap=0.007, smooth=20),
    "sweater": Cut("top", sleeve=1.97, hem=0.02, gap=0.02, flare=0.006, smooth=70),
    "turtleneck": Cut("top", sleeve=1.95, hem=-0.03, neck="high", gap=0.012, smooth=40),
    "tracksuit_top": Cut("top", sleeve=1.97, hem=-0.02, neck="high", gap=0.02, smooth=60, block="yoke"),
    "shorts": Cut("bottom", hem=0.75, waist=0.1, gap=0.016, flare=0.025, smooth=40),
    "short_shorts": Cut("bottom", hem=0.35, waist=0.09, gap=0.009, flare=0.012, smooth=20, block="side"),
    "bermudas": Cut("bottom", hem=1.05, waist=0.1, gap=0.016, flare=0.03, smooth=40, block="side"),
    "leggings": Cut("bottom", hem=1.93, waist=0.12, gap=0.004, smooth=6),
    "capris": Cut("bottom", hem=1.45, waist=0.11, gap=0.006, smooth=10),
    "slim_trousers": Cut("bottom", hem=1.95, waist=0.1, gap=0.01, flare=0.004, smooth=30),
    "sweatpants": Cut("bottom", hem=1.95, waist=0.11, gap=0.02, flare=0.004, smooth=60, block="side"),
    "wide_trousers": Cut("bottom", hem=2.0, waist=0.12, gap=0.014, flare=0.05, smooth=50),
    "briefs": Cut("bottom", hem=0.12, waist=0.06, gap=0.004, smooth=6),
    "jumpsuit": Cut("suit", sleeve=1.9, hem=1.95, neck="v", gap=0.016, flare=0.006, smooth=40, block="yoke"),
    "catsuit": Cut("suit", sleeve=1.95, hem=1.93, gap=0.004, smooth=6, block="side"),
    "swimsuit": Cut("suit", "female", sleeve=-0.25, hem=0.1, neck="tank", gap=0.004, smooth=6),
}


def neckline(figure: Figure, points: np.ndarray, neck: str) -> np.ndarray:
    x, y, z = (points - figure.neck).T
    if neck == "high":
        return 0.085 - y - 0.25 * z
    field = 0.03 - y - 0.45 * z
    if neck in ("wide", "tank"):
        # Lower in front and wider at the sides.
        field = np.linalg.norm((points - figure.neck - [0, 0.02, 0.06]) * [1, 0.8, 0.9], axis=1) - 0.115
        field = np.where(y > 0.07, -0.05, field)
    if neck == "v":
        field = np.minimum(field, np.where(z > 0.01, -0.13 + 2.0 * np.abs(x) - y, field))
    return field


def cut_piece(name: str, cut: Cut, body: BodyData, normals: np.ndarray) -> Piece:
    figure = Figure(body)
    sheet = whole_skin(body)

    def points() -> np.ndarray:
        return sheet.blend @ body.template.astype(np.float64)

    if cut.kind in ("top", "suit"):
        sheet = clip(sheet, neckline(figure, points(), cut.neck))
        sheet = clip(sheet, figure.arm(cut.sleeve) - np.abs(points()[:, 0]))
        if cut.neck == "tank":
            folded = points()
            folded[:, 0] = np.abs(folded[:, 0])
            centre = figure.shoulder_joint + np.array([0.02, -0.02, 0])
            sheet = clip(sheet, np.linalg.norm((folded - centre) * [1, 0.8, 0.6], axis=1) - 0.085)
    if cut.kind in ("bottom", "suit"):
        if cut.waist is not None:
            sheet = clip(sheet, figure.hip + cut.waist - points()[:, 1])
        end = figure.leg(cut.hem)
        if cut.hem < 0.2:  # leg holes that rise to the sides
            end = end - 0.06 + 0.55 * np.maximum(np.abs(points()[:, 0]) - 0.04, 0)
        sheet = clip(sheet, points()[:, 1] - end)
    else:
        sheet = clip(sheet, points()[:, 1] - figure.leg(cut.hem))

    if cut.block:
        x, y, _ = points().T
        field = {
            "sleeves": np.abs(x) - figure.shoulder - 0.01 + 0.35 * (y - figure.shoulder_joint[1]),
            "yoke": y - figure.chest - 0.02,
            "side": (sheet.blend @ normals)[:, 0] * np.sign(x) - 0.93,
        }[cut.block]
        sheet, other = split(sheet, field)
        sheet.material[other] = 1

    used, faces = np.unique(sheet.faces, return_inverse=True)
    _, first, weld = np.unique(sheet.place[used], return_index=True, return_inverse=True)
    first = used[first]
    blend = sheet.blend[first]
    dirs = blend @ body.shape_dirs.reshape(len(body.template), -1).astype(np.float64)
    piece = Piece(
        name, cut.kind, cut.sex, blend @ body.template.astype(np.float64), dirs.reshape(-1, 3, 11),
        blend @ body.weights.astype(np.float64), weld, sheet.uv[used], faces.reshape(-1, 3), sheet.material,
    )  # fmt: skip
    normal = blend @ normals
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    drape(piece, cut, figure, normal)
    piece.texture = CLOTH
    return piece


def drape(piece: Piece, cut: Cut, figure: Figure, normal: np.ndarray) -> None:
    """Moves cloth from the skin outwards, smooths it and lays it in folds."""
    skin = piece.position.copy()
    triangles = piece.triangles
    steps = neighbour_means(triangles, len(skin))
    x, y, _ = skin.T
    length = max(figure.arm(cut.sleeve or 0) - figure.shoulder, 0.05)
    sleeve = np.clip((np.abs(x) - figure.shoulder) / length, 0, 1)
    top = figure.hip + 0.05 if cut.kind != "top" else figure.chest
    down = np.clip((top - y) / max(top - figure.leg(cut.hem), 0.05), 0, 1)
    gap = cut.gap + cut.flare * np.maximum(0.6 * sleeve, down) ** 1.5
    position = skin.copy()
    for _ in range(cut.smooth):
        position += 0.5 * (steps @ position - position)
    if cut.gap > 0.005:
        folds = np.sin(x * 31 + y * 17 + 2 * np.sin(y * 23 + piece.position[:, 2] * 11))
        gap = gap * (1 + 0.22 * folds)
    height = ((position - skin) * normal).sum(1)
    position += np.maximum(gap - height, 0)[:, None] * normal
    for _ in range(2):
        position += 0.5 * (steps @ position - position)
    height = ((position - skin) * normal).sum(1)
    position += np.maximum(0.7 * gap - height, 0)[:, None] * normal
    piece.position = position


def _cloth_texture() -> np.ndarray:
    """Grey cloth: soft spots and a fine grain."""
    rng = np.random.default_rng(0)
    grey = np.full((256, 256), 195.0)
    for size, depth in ((12, 4), (32, 3), (256, 3)):
        grey += depth * cv2.resize(rng.normal(size=(size, size)), (256, 256), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


CLOTH = _cloth_texture()
CURLS = np.clip(CLOTH.astype(np.int32) * 3 - 540, 25, 70).astype(np.uint8)
"""For hair without a texture: dark with lighter spots."""


SKIRTS = {"skirt": (0.8, 0.15), "skirt_long": (1.7, 0.12), "skirt_mini": (0.45, 0.1)}
"""Where the hem is, as in Figure.leg, and how much the radius grows with the way down."""


def skirt_piece(
    name: str, hem: float, flare: float, body: BodyData, rings: int = 20, sides: int = 48
) -> Piece:
    """Rings around hips and legs: the hull of the body at each height, never narrower than above."""
    figure = Figure(body)
    template = body.template.astype(np.float64)
    trunk = template[np.abs(template[:, 0]) < 0.35]
    heights = np.linspace(figure.hip + 0.11, figure.leg(hem), rings)
    angles = np.arange(sides) * 2 * np.pi / sides
    directions = np.stack((np.sin(angles), np.cos(angles)), 1)
    centre = np.array([0, float(trunk[np.abs(trunk[:, 1] - figure.hip) < 0.05, 2].mean())])
    radius = np.zeros((rings, sides))
    for k, y in enumerate(heights):
        near = trunk[np.abs(trunk[:, 1] - y) < 0.025][:, [0, 2]] - centre
        support = (near @ directions.T).max(0)
        cosine = np.cos(angles[:, None] - angles)
        hull = np.where(cosine > 0.3, support / np.maximum(cosine, 0.3), np.inf).min(1) + 0.01
        radius[k] = hull if k == 0 else np.maximum(hull, radius[k - 1] + flare * (heights[k - 1] - y))
    down = (heights[0] - heights)[:, None] / 0.3
    radius *= 1 + 0.04 * np.clip(down, 0, 1) * np.sin(9 * angles + 1)
    x, z = radius * directions[:, 0], radius * directions[:, 1] + centre[1]
    position = np.stack(np.broadcast_arrays(x, heights[:, None], z), -1).reshape(-1, 3)

    x, y, _ = position.T
    low = smoothstep((figure.hip + 0.06 - y) / 0.22)
    shin = 0.6 * smoothstep((figure.knee + 0.1 - y) / 0.3)
    left = smoothstep(0.5 + x / 0.24)
    weights = np.zeros((len(position), 24))
    weights[:, NAMES.index("pelvis")] = 1 - low
    for side, share in (("left", left), ("right", 1 - left)):
        weights[:, NAMES.index(f"{side}_hip")] = low * share * (1 - shin)
        weights[:, NAMES.index(f"{side}_knee")] = low * share * shin
    legs = np.flatnonzero(np.abs(template[:, 0]) < 0.35)
    distance, near = cKDTree(template[legs]).query(position, k=40)
    share = 1 / (0.02 + distance)
    share /= share.sum(1, keepdims=True)
    dirs = np.einsum("pk,pkcb->pcb", share, body.shape_dirs[legs[near]].astype(np.float64))

    column = np.arange(sides + 1)
    corner = (np.arange(rings)[:, None] * (sides + 1) + column).astype(int)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    faces = np.concatenate([np.stack(f, -1).reshape(-1, 3) for f in ((a, c, b), (b, c, d))])
    weld = (np.arange(rings)[:, None] * sides + column % sides).reshape(-1)
    uv = np.stack(np.broadcast_arrays(column / sides, (1 - np.arange(rings) / (rings - 1))[:, None]), -1)
    piece = Piece(
        name, "bottom", "female", position, dirs, weights, weld, uv.reshape(-1, 2), faces,
        np.zeros(len(faces), int), CLOTH,
    )  # fmt: skip
    mean = neighbour_means(piece.triangles, len(position))
    flat = dirs.reshape(len(position), -1)
    for _ in range(20):
        flat = (flat + mean @ flat) / 2
    piece.shape_dirs = flat.reshape(dirs.shape)
    return piece


def smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


@numba.njit
def _covered(origins, directions, triangles, near, far):
    """Whether a ray meets a triangle between two distances (Moeller and Trumbore, 1997)."""
    result = np.zeros(len(origins), np.bool_)
    for i in range(len(origins)):
        o, d = origins[i], directions[i]
        for j in range(len(triangles)):
            a = triangles[j, 0]
            if abs(a[0] - o[0]) > 0.25 or abs(a[1] - o[1]) > 0.25 or abs(a[2] - o[2]) > 0.25:
                continue
            u, v = triangles[j, 1] - a, triangles[j, 2] - a
            p = np.cross(d, v)
            det = np.dot(u, p)
            if abs(det) < 1e-14:
                continue
            w = o - a
            s = np.dot(w, p) / det
            if s < -1e-6 or s > 1 + 1e-6:
                continue
            q = np.cross(w, u)
            t = np.dot(d, q) / det
            if t < -1e-6 or s + t > 1 + 1e-6:
                continue
            distance = np.dot(v, q) / det
            if near <= distance <= far:
                result[i] = True
                break
    return result


BODY_END = 13380
"""Further vertices of hm08 are eyes and helpers."""

REACH = {"hair": (0.0, 0.0), "eyes": (0.0, 0.0), "hat": (0.0, 0.0), "shoes": (-0.03, 0.04)}
"""Metres along the skin's normal in which a garment hides it; hair and hats hide nothing."""


def find_covered(piece: Piece, body: BodyData, normals: np.ndarray, neighbours: coo_matrix) -> np.ndarray:
    """(6700,) The body's vertices under the garment."""
    near, far = REACH.get(piece.kind, (-0.025, 0.09))
    if near == far:
        return np.zeros(len(body.template), bool)
    triangles = np.ascontiguousarray(piece.position[piece.triangles])
    covered = _covered(body.template.astype(np.float64), normals, triangles, near, far)
    # A stray ray through a gap leaves no hole, and the border stays dressed and drawn.
    bare = ~covered
    alone = np.asarray((neighbours @ bare) <= 1).reshape(-1)
    covered |= alone & bare & np.asarray((neighbours @ covered) >= 4).reshape(-1)
    return covered


def push_out(piece: Piece, body: BodyData, normals: np.ndarray, gap: float) -> None:
    """Moves what is inside the body to `gap` metres outside."""
    near = cKDTree(body.template).query(piece.position, k=4)[1]
    height = ((piece.position[:, None] - body.template[near]) * normals[near]).sum(2)
    lift = np.clip(gap - height.mean(1), 0, 0.03)
    piece.position += lift[:, None] * normals[near].mean(1)


def stored(piece: Piece, body: BodyData, tree: cKDTree) -> dict[str, np.ndarray]:
    """The piece relative to the nearest vertices of the body, so that small integers hold it."""
    # Among near vertices the one that moves like the garment: not one across the arm-pit.
    distance, near = tree.query(piece.position, k=24)
    difference = np.abs(body.weights[near] - piece.weights[:, None]).sum(2)
    best = np.argmin(distance + 0.1 * difference, axis=1)[:, None]
    anchor = np.take_along_axis(near, best, 1)[:, 0]
    offset = np.round((piece.position - body.template[anchor]) / OFFSET_UNIT)
    assert np.abs(offset).max() < 32767
    residual = piece.shape_dirs - body.shape_dirs[anchor]
    scale = np.maximum(np.abs(residual).max((0, 1)), 1e-6) / 127
    order = np.argsort(-piece.weights, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(piece.weights, order, 1)
    whole = np.round(top / top.sum(1, keepdims=True) * 255)
    whole[:, 0] += 255 - whole.sum(1)
    return {
        "anchor": anchor.astype(np.uint16),
        "offset": offset.astype(np.int16),
        "shape": np.round(residual / scale).astype(np.int8),
        "shape_scale": scale.astype(np.float32),
        "bone": order.astype(np.uint8),
        "share": whole.astype(np.uint8),
        "weld": piece.weld.astype(np.uint16),
        "uv": np.round(np.clip(piece.uv * [1, -1] + [0, 1], 0, 1) * 65535).astype(np.uint16),
        "faces": piece.faces.astype(np.uint16),
        "surface": piece.material.astype(np.uint8),
        "covers": np.packbits(piece.covers),
    }


def jpeg(image: np.ndarray, quality: int = 88) -> np.ndarray:
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    return data.reshape(-1)


def read_skins() -> list[tuple[str, np.ndarray]]:
    """Sex and texture of every photographic skin of MakeHuman."""
    skins = []
    for path in sorted([*(MAKEHUMAN / "skins").glob("*/*.jpg"), *(MAKEHUMAN / "skins_512").glob("*.jpg")]):
        if "special_suit" not in path.name and "toon" not in path.name:
            image = cv2.imread(str(path))[..., ::-1]
            size = (TEXTURE_SIZE, TEXTURE_SIZE)
            sex = "female" if "female" in path.name else "male"
            skins.append((sex, cv2.resize(image, size, interpolation=cv2.INTER_AREA)))
    return skins


def main() -> None:
    torch.set_num_threads(1)
    body = read_body(OPEN_BODY)
    with np.load(OPEN_BODY) as file:
        index = file["makehuman_index"].astype(int)
    base = fit_base(load_hm08(), body, index)
    pieces = suit_pieces(base) + other_pieces(base) + hair_pieces(base)
    normals = vertex_normals(body.template.astype(np.float64), body.faces)
    cuts = [cut_piece(name, cut, body, normals) for name, cut in CUTS.items()]
    cuts += [skirt_piece(name, *shape, body) for name, shape in SKIRTS.items()]
    neighbours = (neighbour_means(body.faces, len(normals)) > 0).astype(int)
    tree = cKDTree(body.template)
    arrays: dict[str, np.ndarray] = {}
    textures: list[np.ndarray] = []
    garments = []
    for piece in [*pieces, *cuts]:
        if piece.kind not in ("shoes", "eyes") and piece.name not in CUTS and piece.name not in SKIRTS:
            push_out(piece, body, normals, 0.004)
        piece.covers = find_covered(piece, body, normals, neighbours)
        if piece.kind == "eyes":
            piece.covers = index >= BODY_END  # MakeHuman's eyeballs, which have no skin
        arrays |= {f"{piece.name}/{key}": array for key, array in stored(piece, body, tree).items()}
        kind = piece.kind if piece.kind in ("hair", "shoes", "eyes") else "cloth"
        kind = "plain" if piece.texture is CLOTH else kind
        number = next((i for i, texture in enumerate(textures) if texture is piece.texture), len(textures))
        surfaces = [[kind, number]] * (int(piece.material.max()) + 1)
        textures += [piece.texture] * (number == len(textures))
        garments.append({"name": piece.name, "kind": piece.kind, "sex": piece.sex, "surfaces": surfaces})
        print(f"{piece.name}: {piece.kind}, {len(piece.faces)} faces, covers {piece.covers.sum()}")
    skins: dict[str, list[int]] = {"female": [], "male": []}
    for sex, image in read_skins():
        skins[sex].append(len(textures))
        textures.append(image)
    arrays |= {f"texture/{i}": jpeg(image) for i, image in enumerate(textures)}
    arrays["meta"] = np.array(json.dumps({"garments": garments, "skins": skins, "textures": len(textures)}))
    write_npz(WARDROBE, arrays)
    print(f"{WARDROBE}: {(WARDROBE).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
