from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fullframe.render.rasterize import rasterize
from fullframe.synth.wardrobe import NUM_COMBINATIONS, Garment, Outfit, Wardrobe, load_wardrobe

NAMES = sorted(load_wardrobe().garments)
CLOTHES = ("top", "bottom", "suit")


@pytest.fixture(scope="module")
def wardrobe() -> Wardrobe:
    return load_wardrobe()


def check_mesh(mesh: Garment | Outfit) -> None:
    count = len(mesh.vertices)
    assert mesh.vertices.shape == (count, 3) and mesh.shape_dirs.shape == (count, 3, 11)
    assert mesh.vertices.dtype == mesh.shape_dirs.dtype == mesh.share.dtype == mesh.uv.dtype == np.float32
    assert mesh.bone.shape == mesh.share.shape == (count, 4) and mesh.bone.max() < 24
    assert np.allclose(mesh.share.sum(axis=1), 1, atol=1e-5) and mesh.share.min() >= 0
    assert mesh.uv.shape == (count, 2) and mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    assert mesh.faces.dtype == mesh.weld.dtype == np.int32
    assert np.array_equal(np.unique(mesh.faces), np.arange(count))
    assert np.array_equal(mesh.weld[mesh.weld], mesh.weld)
    assert np.array_equal(mesh.vertices[mesh.weld], mesh.vertices)
    assert np.isfinite(mesh.vertices).all() and np.isfinite(mesh.shape_dirs).all()


def heights(wardrobe: Wardrobe, garment: Garment, betas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Metres above the skin at the anchors."""
    corner = np.zeros(len(garment.covers), int)
    corner[wardrobe.body.anchor] = np.arange(len(wardrobe.body.anchor))
    at = corner[garment.anchor]
    body = wardrobe.body
    skin = body.vertices[at] + body.shape_dirs[at] @ betas
    cloth = garment.vertices + garment.shape_dirs @ betas
    return ((cloth - skin) * garment.lift).sum(axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_garments_are_sound(wardrobe: Wardrobe, name: str) -> None:
    garment = wardrobe.garments[name]
    check_mesh(garment)
    assert len(garment.faces) <= 9000
    assert garment.surface.shape == (len(garment.faces),)
    assert set(np.unique(garment.surface)) == set(range(len(garment.surfaces)))
    assert all(surface.texture < len(wardrobe.textures) for surface in garment.surfaces)
    assert (garment.hides <= garment.covers).all()
    if garment.kind in (*CLOTHES, "shoes"):
        assert garment.hides.sum() > 80


def test_body_is_the_open_body_split_at_seams(wardrobe: Wardrobe) -> None:
    check_mesh(wardrobe.body)
    assert len(wardrobe.body.vertices) == 7311 and len(wardrobe.body.hides) == 6700
    edges = wardrobe.body.lift / np.linalg.norm(wardrobe.body.lift, axis=1, keepdims=True)
    assert np.allclose(edges, wardrobe.body.lift, atol=1e-5)


def test_every_sex_finds_clothes_and_skins(wardrobe: Wardrobe) -> None:
    for sex in ("female", "male"):
        for kind, least in {
            "top": 12,
            "bottom": 8,
            "suit": 3,
            "shoes": 6,
            "hair": 4,
            "hat": 2,
            "eyes": 3,
        }.items():
            assert len(wardrobe.of_kind(kind, sex)) >= least
        assert len(wardrobe.skins[sex]) >= 9
    for texture in wardrobe.textures:
        assert texture.dtype == np.uint8 and texture.ndim == 3 and max(texture.shape[:2]) <= 512


@pytest.mark.parametrize("beta, value", [(0, 2.5), (0, -2.5), (1, 3), (1, -2.5), (4, 2), (10, 1)])
def test_clothes_follow_the_shape(wardrobe: Wardrobe, beta: int, value: float) -> None:
    betas = np.zeros(11, np.float32)
    betas[beta] = value
    for garment in wardrobe.garments.values():
        if garment.kind in (*CLOTHES, "shoes"):
            change = np.abs(heights(wardrobe, garment, betas) - garment.height)
            near = garment.height < 0.03
            limit = 0.06 if "skirt" in garment.name or "elegantsuit01_bottom" in garment.name else 0.02
            assert np.percentile(change[near], 99) < limit, garment.name


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_outfits_are_sound_and_repeatable(seed: int) -> None:
    ours = load_wardrobe()
    first, second = (ours.outfit(np.random.default_rng(seed)) for _ in range(2))
    fresh = Wardrobe(ours.garments.values(), ours.body, ours.skins, ours.textures)
    fresh = fresh.outfit(np.random.default_rng(seed))
    assert first.garments == second.garments == fresh.garments and first.surfaces == fresh.surfaces
    assert np.array_equal(first.vertices, fresh.vertices) and np.array_equal(first.faces, fresh.faces)
    check_mesh(first)
    assert first.face_surface.dtype == np.int32
    assert set(np.unique(first.face_surface)) <= set(range(len(first.surfaces)))
    assert first.surfaces[0].kind == "skin"
    assert first.surfaces[0].texture in ours.skins[first.sex]


def test_people_differ(wardrobe: Wardrobe) -> None:
    rng = np.random.default_rng(0)
    chosen = {wardrobe._choose(rng, "female")[0].name for _ in range(200)}
    assert len(chosen) > 12
    skins = {wardrobe.outfit(np.random.default_rng(seed % 3)).surfaces[0] for seed in range(30)}
    assert len(skins) <= 3 and NUM_COMBINATIONS >= 80


def depth_of(vertices: NDArray[np.float32], faces: NDArray[np.int32], back: bool) -> NDArray[np.float32]:
    """Depth at 2 mm per pixel of a mesh seen from far away, (1000, 1000), infinite where there is none."""
    turn = np.array([-1.0, -1, 1] if back else [1.0, -1, -1])
    seen = vertices * turn + [0, 0, 100]
    k = np.array([[50000.0, 0, 500], [0, 50000, 500], [0, 0, 1]])
    samples = rasterize(seen, faces, np.empty((len(seen), 0)), k, (1000, 1000), antialias=False, threads=1)
    depth = np.full(1000 * 1000, np.inf, np.float32)
    depth[samples.pixel] = samples.depth
    return depth


@pytest.mark.parametrize("names", [
    ("tshirt", "male_casualsuit02_bottom"), ("male_elegantsuit01_top", "male_elegantsuit01_bottom"),
    ("sweater", "sweatpants"), ("female_casualsuit01_top", "skirt"), ("leggings", "tank_top"),
])  # fmt: skip
@pytest.mark.slow
def test_skin_does_not_poke_through_clothes(wardrobe: Wardrobe, names: tuple[str, ...]) -> None:
    garments = [wardrobe.garments[name] for name in names]
    outfit = wardrobe.dress("male", garments)
    covered = np.any([garment.covers for garment in garments], axis=0)
    skin = outfit.face_surface == 0
    body = wardrobe.body
    anchor = {tuple(v): a for v, a in zip(body.vertices.tolist(), body.anchor, strict=True)}
    faces = outfit.faces[skin]
    under = np.array([covered[anchor[tuple(v)]] for v in outfit.vertices[: faces.max() + 1].tolist()])
    for back in (False, True):
        cloth = depth_of(outfit.vertices, outfit.faces[~skin], back)
        naked = depth_of(outfit.vertices, faces[under[faces].all(axis=1)], back)
        both = np.isfinite(cloth) & np.isfinite(naked)
        poking = (cloth[both] - naked[both] > 0.004) & (cloth[both] - naked[both] < 0.05)
        assert poking.sum() < 0.003 * np.isfinite(cloth).sum()


def test_asset_is_small_and_licensed() -> None:
    assets = resources.files("fullframe") / "assets"
    assert len((assets / "wardrobe.npz").read_bytes()) < 12e6
    assert "CC0 1.0 Universal" in (assets / "wardrobe.LICENSE.txt").read_text()
