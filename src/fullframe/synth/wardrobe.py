"""Clothes, shoes, hair and skins for the open body.

All meshes are in the T-pose of the mean adult (y up, facing +z, metres) and follow the body's betas and, by
linear blend skinning, its pose.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.assets import OPEN_BODY, WARDROBE
from fullframe.synth.decimation import decimate

NUM_COMBINATIONS = 80
"""Combinations of garments that `Wardrobe.outfit` chooses from; each takes about 2 MB once it is used."""

SEXES = ("female", "male")

_OFFSET_UNIT = 5e-5  # metres
_TUCKED = 0.001  # metres above the skin


class Surface(NamedTuple):
    """What faces of an outfit are made of, and the texture's index into Wardrobe.textures.

    Kinds are "skin", "eyes", "hair", "shoes", "cloth" and "plain", which is cloth in undyed grey.
    """

    kind: str
    texture: int


@dataclass(frozen=True, eq=False)
class Garment:
    """One piece, V vertices of which each has one uv, and F triangles.

    Attributes:
        name: unique.
        kind: "top", "bottom", "suit", "shoes", "hair", "hat", "eyes" or "body".
        sex: whom it is cut for, "female", "male" or "any".
        vertices: (V, 3) float32 metres.
        shape_dirs: (V, 3, 11) float32 metres per unit of the open body's betas.
        bone: (V, 4) uint8, the joints of SMPL that move the vertex.
        share: (V, 4) float32, their weights, which sum to 1.
        anchor: (V,) int32, the vertex of the body that it lies next to.
        weld: (V,) int32, the first vertex at the same place.
        uv: (V, 2) float32 in 0..1, v downwards.
        faces: (F, 3) int32, counter-clockwise from outside.
        surface: (F,) int32 index into surfaces.
        surfaces: what it is made of; all faces of one get one colour.
        height: (V,) float32, metres above the skin at the anchor.
        lift: (V, 3) float32, the skin's outward normal at the anchor.
        covers: (6700,) bool, the body's vertices under it.
        hides: (6700,) bool, those of them away from its border, which are invisible.
    """

    name: str
    kind: str
    sex: str
    vertices: NDArray[np.float32]
    shape_dirs: NDArray[np.float32]
    bone: NDArray[np.uint8]
    share: NDArray[np.float32]
    anchor: NDArray[np.int32]
    weld: NDArray[np.int32]
    uv: NDArray[np.float32]
    faces: NDArray[np.int32]
    surface: NDArray[np.int32]
    surfaces: tuple[Surface, ...]
    height: NDArray[np.float32]
    lift: NDArray[np.float32]
    covers: NDArray[np.bool_]
    hides: NDArray[np.bool_]


class Outfit(NamedTuple):
    """A dressed person as one mesh without what clothes hide; the arrays are shared, do not change them.

    Attributes:
        sex: "female" or "male".
        garments: their names.
        vertices: (V, 3); shape_dirs: (V, 3, 11); bone, share: (V, 4); uv: (V, 2); weld: (V,); faces: (F, 3):
            as those of a Garment.
        face_surface: (F,) int32 index into surfaces.
        surfaces: the skin first.
    """

    sex: str
    garments: tuple[str, ...]
    vertices: NDArray[np.float32]
    shape_dirs: NDArray[np.float32]
    bone: NDArray[np.uint8]
    share: NDArray[np.float32]
    uv: NDArray[np.float32]
    weld: NDArray[np.int32]
    faces: NDArray[np.int32]
    face_surface: NDArray[np.int32]
    surfaces: tuple[Surface, ...]

    def only(self, faces: NDArray[np.int32], face_surface: NDArray[np.int32]) -> "Outfit":
        """With these faces, and none of the vertices that they do without."""
        used = np.zeros(len(self.weld), bool)
        used[faces] = True
        kept = np.flatnonzero(used)
        new = np.cumsum(used, dtype=np.int32) - np.int32(1)
        first = np.full(len(used), len(used), np.int64)
        np.minimum.at(first, self.weld[kept], kept)  # of those left at the same place
        return self._replace(
            vertices=self.vertices[kept],
            shape_dirs=self.shape_dirs[kept],
            bone=self.bone[kept],
            share=self.share[kept],
            uv=self.uv[kept],
            weld=new[first[self.weld[kept]]],
            faces=new[faces],
            face_surface=face_surface,
        )


class Wardrobe:
    """Everything to wear. `load_wardrobe` gives the one that comes with the package.

    Attributes:
        garments: by name.
        body: the bare body as a garment, split where its uv jumps (7311 vertices).
        skins: sex to indices into textures.
        textures: (h, w, 3) uint8 RGB images.
    """

    def __init__(
        self,
        garments: Iterable[Garment],
        body: Garment,
        skins: dict[str, list[int]],
        textures: list[NDArray[np.uint8]],
    ) -> None:
        self.garments = {garment.name: garment for garment in garments}
        self.body = body
        self.skins = skins
        self.textures = textures
        self._triangles = body.anchor[body.faces]
        self._combinations: dict[tuple[int, float], Outfit] = {}

    def of_kind(self, kind: str, sex: str) -> list[Garment]:
        """The garments of a kind that suit a sex."""
        return [g for g in self.garments.values() if g.kind == kind and g.sex in (sex, "any")]

    def outfit(self, rng: np.random.Generator, error: float = 0.0) -> Outfit:
        """A random outfit: one of NUM_COMBINATIONS combinations of garments on any skin of that sex.

        Args:
            rng: used alike for every `error`.
            error: root mean square error of the surface, metres; see synth.decimation. One outfit for each of
                its values but 0 is cached: whole ones are large, and quickly combined.
        """
        number = int(rng.integers(NUM_COMBINATIONS))
        outfit = self._simplified(number, error) if error else self._combine(number)
        skins = self.skins[outfit.sex]
        skin = Surface("skin", skins[int(rng.random() * len(skins))])
        return outfit._replace(surfaces=(skin, *outfit.surfaces[1:]))

    def _simplified(self, number: int, error: float) -> Outfit:
        if (number, error) not in self._combinations:
            whole = self._combine(number)
            mesh = (whole.vertices, whole.weld, whole.faces, whole.face_surface)
            self._combinations[number, error] = whole.only(*decimate(*mesh, error))
        return self._combinations[number, error]

    def _combine(self, number: int) -> Outfit:
        rng = np.random.default_rng(number)
        sex = SEXES[number % 2]
        return self.dress(sex, self._choose(rng, sex))

    def _choose(self, rng: np.random.Generator, sex: str) -> list[Garment]:
        """Garments that go together, what is worn outside first."""

        def one(kind: str) -> Garment:
            choice = self.of_kind(kind, sex)
            return choice[int(rng.integers(len(choice)))]

        if rng.random() < 0.08:
            worn = [one("suit")]
        else:
            worn = [one("top"), one("bottom")]
            if rng.random() < 0.2:
                worn.reverse()  # tucked in
            if sex == "male" and rng.random() < 0.04:
                worn = [piece for piece in worn if piece.kind == "bottom"]
        if rng.random() < 0.85:
            worn.append(one("shoes"))
        worn.append(one("eyes"))
        head = rng.random()
        if head < 0.85:
            worn.append(one("hair"))
        elif head < 0.93:
            worn.append(one("hat"))
        return worn

    def dress(self, sex: str, garments: Iterable[Garment]) -> Outfit:
        """The body in garments, those worn outside first, with the sex's first skin."""
        garments = list(garments)
        hidden = np.zeros(len(self.body.hides), bool)
        covered = hidden.copy()
        pieces, shown = [], []
        for garment in garments:
            pieces.append(_tucked(garment, covered))
            shown.append(~hidden[garment.anchor][garment.faces].all(axis=1))
            hidden |= garment.hides
            # One ring further: what lies under a hem dips before it.
            covered[self._triangles[garment.covers[self._triangles].any(axis=1)]] = True
        pieces.insert(0, self.body)
        shown.insert(0, ~hidden[self.body.anchor][self.body.faces].any(axis=1))

        surfaces = [Surface("skin", self.skins[sex][0])]
        weld, faces, surface = [], [], []
        count = 0
        for piece, visible in zip(pieces, shown, strict=True):
            weld.append(piece.weld + np.int32(count))
            faces.append(piece.faces[visible] + np.int32(count))
            surface.append(piece.surface[visible] + np.int32(len(surfaces) - (piece is self.body)))
            surfaces += piece.surfaces[1:] if piece is self.body else piece.surfaces
            count += len(piece.vertices)
        whole = Outfit(
            sex,
            tuple(garment.name for garment in garments),
            np.concatenate([piece.vertices for piece in pieces]),
            np.concatenate([piece.shape_dirs for piece in pieces]),
            np.concatenate([piece.bone for piece in pieces]),
            np.concatenate([piece.share for piece in pieces]),
            np.concatenate([piece.uv for piece in pieces]),
            np.concatenate(weld),
            np.concatenate(faces),
            np.concatenate(surface),
            tuple(surfaces),
        )
        return whole.only(whole.faces, whole.face_surface)


def _tucked(garment: Garment, covered: NDArray[np.bool_]) -> Garment:
    """The garment close to the skin where others cover it, so that it does not show through them."""
    if garment.kind not in ("top", "bottom", "suit"):
        return garment
    excess = np.maximum(garment.height - np.float32(_TUCKED), 0) * covered[garment.anchor]
    vertices: NDArray[np.float32] = garment.vertices - excess[:, None] * garment.lift
    return replace(garment, vertices=vertices)


@lru_cache(maxsize=1)
def load_wardrobe() -> Wardrobe:
    """The wardrobe that comes with the package, read once."""
    with np.load(OPEN_BODY) as arrays:
        body = _read_body(arrays)
    with np.load(WARDROBE) as arrays:
        meta = json.loads(str(arrays["meta"]))
        garments = [_read_garment(arrays, entry, body) for entry in meta["garments"]]
        textures = [_decoded(arrays[f"texture/{i}"]) for i in range(meta["textures"])]
    return Wardrobe(garments, body, meta["skins"], textures)


def _read_body(arrays: Any) -> Garment:
    faces, uv_faces = arrays["f"].astype(np.int32), arrays["ft"].astype(np.int32)
    template = arrays["v_template"]
    vertex = np.zeros(len(arrays["vt"]), np.int32)
    vertex[uv_faces] = faces
    weights = arrays["weights"].astype(np.float32)
    bone = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    share = np.take_along_axis(weights, bone, axis=1)
    share /= share.sum(axis=1, keepdims=True)
    nothing = np.zeros(len(template), bool)
    shape_dirs = arrays["shapedirs"].astype(np.float32) * arrays["shapedirs_scale"]
    return Garment(
        name="body",
        kind="body",
        sex="any",
        vertices=template[vertex],
        shape_dirs=shape_dirs[vertex],
        bone=bone[vertex].astype(np.uint8),
        share=share[vertex],
        anchor=vertex,
        weld=_first_at(vertex, len(template))[vertex],
        uv=np.stack((arrays["vt"][:, 0], 1 - arrays["vt"][:, 1]), axis=1).astype(np.float32),
        faces=uv_faces,
        surface=np.zeros(len(faces), np.int32),
        surfaces=(Surface("skin", 0),),
        height=np.zeros(len(vertex), np.float32),
        lift=_normals(template, faces)[vertex],
        covers=nothing,
        hides=nothing,
    )


def _read_garment(arrays: Any, entry: dict[str, Any], body: Garment) -> Garment:
    def get(key: str) -> NDArray[Any]:
        array: NDArray[Any] = arrays[f"{entry['name']}/{key}"]
        return array

    place, anchor = get("weld").astype(np.int32), get("anchor").astype(np.int32)
    corner = _first_at(body.anchor, len(body.hides))[anchor]
    offset, lift = get("offset").astype(np.float32) * np.float32(_OFFSET_UNIT), body.lift[corner]
    covers = np.unpackbits(get("covers"), count=len(body.hides)).astype(bool)
    hides = covers.copy()
    triangles = body.anchor[body.faces]
    hides[triangles[~covers[triangles].all(axis=1)]] = False
    vertices = body.vertices[corner] + offset
    shape_dirs = body.shape_dirs[corner] + get("shape").astype(np.float32) * get("shape_scale")
    return Garment(
        name=entry["name"],
        kind=entry["kind"],
        sex=entry["sex"],
        vertices=vertices[place],
        shape_dirs=shape_dirs[place],
        bone=get("bone")[place],
        share=(get("share").astype(np.float32) / np.float32(255))[place],
        anchor=anchor[place],
        weld=_first_at(place, len(anchor))[place],
        uv=get("uv").astype(np.float32) / np.float32(65535),
        faces=get("faces").astype(np.int32),
        surface=get("surface").astype(np.int32),
        surfaces=tuple(Surface(kind, texture) for kind, texture in entry["surfaces"]),
        height=(offset * lift).sum(axis=1)[place],
        lift=lift[place],
        covers=covers,
        hides=hides,
    )


def _first_at(place: NDArray[np.int32], places: int) -> NDArray[np.int32]:
    """For each of `places` the first vertex that lies there."""
    first = np.full(places, len(place), np.int32)
    np.minimum.at(first, place, np.arange(len(place), dtype=np.int32))
    return first


def _normals(points: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals (V, 3) of a mesh's vertices."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _decoded(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a texture in the package's wardrobe.npz is unreadable: reinstall fullframe")
    return np.ascontiguousarray(image[..., ::-1])
