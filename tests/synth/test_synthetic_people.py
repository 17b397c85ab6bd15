import hashlib

import cv2
import numpy as np
import pytest
import torch

from fullframe.assets import ASSETS
from fullframe.body import load_body
from fullframe.geometry.box import box_from_xyxy
from fullframe.io.image import ImageError
from fullframe.synth import backgrounds
from fullframe.synth.backgrounds import Backgrounds
from fullframe.synth.joints import NUM_BETAS
from fullframe.synth.scene import MAX_PEOPLE
from fullframe.synth.synthetic_people import VAL_PEOPLE, SyntheticPeople, synth_val, visible_box


@pytest.fixture(scope="module")
def people():
    return SyntheticPeople("train", seed=5, height=96)


@pytest.fixture(scope="module")
def some(people):
    return [people[index] for index in range(24)]


def test_people_are_deterministic_by_index(people, some):
    other = SyntheticPeople("train", seed=5, height=96)
    for index in (7, 3):
        again = other[index]
        np.testing.assert_array_equal(again.image, some[index].image)
        np.testing.assert_array_equal(again.pose, some[index].pose)
        np.testing.assert_array_equal(again.box, some[index].box)


def test_other_seeds_and_splits_show_others(some):
    for other in (SyntheticPeople("train", seed=6, height=96), SyntheticPeople("val", seed=5, height=96)):
        assert not np.array_equal(other[0].pose, some[0].pose)


def test_labels_agree_with_each_other(some):
    body = load_body("open", num_betas=NUM_BETAS)
    for sample in some:
        posed = body(*(torch.from_numpy(x)[None] for x in (sample.betas, sample.pose, sample.translation)))
        np.testing.assert_allclose(sample.joints["smpl24"][:, :3], posed.joints[0], atol=2e-5)
        for name, joints in sample.joints.items():
            pixels = joints[:, :2] / joints[:, 2:3] * sample.camera.focal + sample.camera.principal_point
            np.testing.assert_allclose(sample.keypoints[name][:, :2], pixels, atol=0.05)
        assert np.isfinite(sample.box).all()
        assert (sample.box >= 0).all() and (sample.box[2:] <= sample.camera.size).all()


def test_root_rotation_is_in_the_camera_frame(some):
    for sample in some:
        identity = np.broadcast_to(np.eye(3), (24, 3, 3))
        np.testing.assert_allclose(sample.pose @ sample.pose.transpose(0, 2, 1), identity, atol=1e-5)
    upright = [sample for sample in some if sample.sequence == "standing"]
    assert upright
    # The body's y axis (up) points up in the picture: camera y is down.
    assert np.mean([sample.pose[0, 1, 1] for sample in upright]) < -0.5


def test_window_shows_the_box(some):
    for sample in some:
        x, y, scale = sample.window
        height, width = sample.image.shape[:2]
        assert (height, width) == (120, 90)
        crop = box_from_xyxy(sample.box[None], enlarge=1.2)
        middle = np.array([x, y]) + scale * (np.array([width, height]) - 1) / 2
        np.testing.assert_allclose(middle, crop.center[0], atol=1e-3)
        assert height * scale == pytest.approx(1.25 * crop.size[0], rel=1e-6)


def test_images_agree_with_labels():
    """A scene with and without its first person differs where that person's vertices are."""
    people = SyntheticPeople("train", seed=8, height=96)
    shares = []
    for seed in range(6):
        scene = people.scenes.compose(np.random.default_rng(seed))
        scene.blocks = []
        person = people.painter.dress(scene.people[0])
        far = person.mesh.vertices + np.float32([0, 500, 0])
        away = person._replace(mesh=person.mesh._replace(vertices=far))
        width, height = scene.camera.size
        scale = 4.0
        shape = (round(height / scale), round(width / scale))
        pictures = [people.painter.paint(scene, [p], (0.0, 0.0, scale), shape) for p in (person, away)]
        changed = np.abs(pictures[0].astype(int) - pictures[1]).max(axis=2) > 20
        pixels = person.mesh.vertices[:, :2] / person.mesh.vertices[:, 2:] * scene.camera.focal
        pixels = ((pixels + scene.camera.principal_point) / scale).round().astype(int)
        inside = ((pixels >= 0) & (pixels < shape[::-1])).all(axis=1)
        body = np.zeros(shape, np.uint8)
        body[pixels[inside, 1], pixels[inside, 0]] = 1
        body = cv2.morphologyEx(body, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(bool)
        shares.append(changed[body].mean())
        assert changed[~cv2.dilate(body.astype(np.uint8), np.ones((9, 9))).astype(bool)].mean() < 0.2
    assert np.median(shares) > 0.7


def test_simplified_people_look_the_same(people):
    for seed in range(6):
        scene = people.scenes.compose(np.random.default_rng(seed))
        whole = people.painter.dress(scene.people[0])
        box = visible_box(whole.mesh.vertices, scene.camera)
        window, shape = people._window(box)
        few = people.painter.dress(scene.people[0], scene.camera.focal[0] / window[2])
        np.testing.assert_allclose(visible_box(few.mesh.vertices, scene.camera), box, atol=2 * window[2])
        pictures = [people.painter.paint(scene, [p], window, shape).astype(int) for p in (whole, few)]
        difference = np.abs(pictures[0] - pictures[1]).max(axis=2)
        assert difference.mean() < 5
        assert (difference > 40).mean() < 0.03


def test_small_people_have_fewer_triangles(people):
    person = people.scenes.compose(np.random.default_rng(1)).people[0]
    counts = [len(people.painter.dress(person, focal).mesh.faces) for focal in (50.0, 500.0, np.inf)]
    assert 4 * counts[0] < counts[2] and counts[0] <= counts[1] <= counts[2]


def test_people_look_different(some):
    pictures = [cv2.resize(sample.image, (16, 16)).astype(int) for sample in some]
    distances = [np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(distances) > 5


def test_cameras_vary_and_people_reach_borders(people):
    views, cut, crowd = [], 0, []
    for index in range(150):
        scene = people.scenes.compose(people._rng(index))
        views.append(max(scene.camera.fov))
        crowd.append(len(scene.people))
        joints = scene.people[0].posed.joints + scene.people[0].translation
        pixels = joints[:, :2] / joints[:, 2:] * scene.camera.focal + scene.camera.principal_point
        cut += bool(((pixels < 0) | (pixels >= scene.camera.size)).any())
    assert 24.9 <= min(views) < 35 and 85 < max(views) <= 100.1
    assert 0.1 < cut / 150 < 0.7
    assert min(crowd) == 1 and 4 <= max(crowd) <= MAX_PEOPLE


def test_frames_hold_everybody_once(people, tmp_path):
    path = tmp_path / "frame.jpg"
    samples = people.frame(3, path)
    picture = cv2.imread(str(path))
    assert picture.shape[1::-1] == samples[0].camera.size
    assert len({sample.name for sample in samples}) == len(samples) >= 1
    before = path.stat().st_mtime_ns
    again = people.frame(3, path)
    assert path.stat().st_mtime_ns == before
    np.testing.assert_array_equal(again[0].pose, samples[0].pose)


CHECKSUM = "cad88953417173b1ddacabeaf2a55a834cba2169ae365eca26ada65d132556f6"
GREYS = [
    [[172, 132, 161], [162, 79, 149], [47, 82, 66], [59, 55, 71]],
    [[169, 184, 141], [151, 162, 104], [134, 112, 94], [183, 102, 129]],
    [[77, 85, 85], [70, 57, 80], [88, 44, 76], [89, 86, 79]],
    [[142, 137, 146], [129, 102, 130], [122, 97, 123], [98, 90, 101]],
]
"""Of the first images, 3 x 4 cells each."""


def checksum(people, count):
    """SHA-256 of the assets and of the random integers of the first scenes.

    They depend on all random numbers before them and are the same on every machine, while coordinates may
    differ in the last digits.
    """
    digest = hashlib.sha256()
    for name in ("open_body", "motion", "pose_prior", "wardrobe"):
        digest.update((ASSETS / f"{name}.npz").read_bytes())
    for index in range(count):
        scene = people.scenes.compose(people._rng(index))
        seeds = [(person.kind, person.seed) for person in scene.people]
        blocks = [block.seed for block in scene.blocks]
        digest.update(repr((scene.camera.size, scene.seed, seeds, blocks)).encode())
    return digest.hexdigest()


@pytest.mark.slow
def test_synth_val_is_unchanged():
    """A failure means another benchmark: all its published numbers have to be measured again."""
    people = synth_val()
    assert VAL_PEOPLE == 2000
    assert checksum(people, 40) == CHECKSUM
    for index, grey in enumerate(GREYS):
        cells = cv2.resize(people[index].image, (3, 4), interpolation=cv2.INTER_AREA).mean(axis=2)
        np.testing.assert_allclose(cells, grey, atol=2)


@pytest.mark.parametrize("content", [b"", b"not an image", "half a photo"])
def test_damaged_backgrounds_are_named_and_not_replaced(tmp_path, photo_path, content):
    photo = photo_path.read_bytes()
    (tmp_path / "a.jpg").write_bytes(photo[: len(photo) // 2] if content == "half a photo" else content)
    backgrounds = Backgrounds(tmp_path, share=1.0)
    with pytest.raises(ImageError, match=r"a\.jpg: .*: remove it from the backgrounds"):
        backgrounds.draw(np.random.default_rng(0))


def test_few_backgrounds_are_kept_in_memory(tmp_path, monkeypatch):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    monkeypatch.setattr(backgrounds, "_CACHED", 2)
    some = Backgrounds(tmp_path, share=1.0)
    rng = np.random.default_rng(0)
    assert {int(some.draw(rng)[0, 0, 0]) for _ in range(40)} == {0, 1, 2}
    assert some._get.cache_info().currsize == 2


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="unknown split 'test'"):
        SyntheticPeople("test")
    with pytest.raises(FileNotFoundError, match="no photos"):
        SyntheticPeople(backgrounds=tmp_path)
    with pytest.raises(IndexError):
        SyntheticPeople(height=96)[-1]
