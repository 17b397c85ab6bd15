import json

import cv2
import numpy as np
import pytest
import tiny
import torch

from fullframe.body import load_body
from fullframe.cli import imagine as command
from fullframe.cli.console import UsageError
from fullframe.cli.imagine import imagine
from fullframe.detect import load_detector
from fullframe.detect.find_people import find_people
from fullframe.geometry.box import DETECTION_ENLARGE
from fullframe.geometry.camera import Camera
from fullframe.imagine import figure as picture
from fullframe.imagine.figure import draw
from fullframe.imagine.novel_views import NovelViews, imagine_people, require_novel_views
from fullframe.io.image import read_photo
from fullframe.models import ENCODERS, box_to_bbox_info, create_model, load_model, save_checkpoint
from fullframe.models.imphmr.volume import rotate_root
from fullframe.models.predict import cut_crops, predict_people

SMALL = {"encoder": "tiny", "crop": (48, 36), "num_betas": 11}
FIELD = {"field_size": 8, "field_samples": 4, "field_width": 16}


@pytest.fixture(autouse=True, scope="module")
def tiny_encoder():
    ENCODERS["tiny"] = tiny.ENCODER
    yield
    del ENCODERS["tiny"]


def save(path, name="imphmr", **options):
    torch.manual_seed(0)
    net = create_model(name, **SMALL, **options)
    save_checkpoint(net, path, body="open", data="none", licence="CC0-1.0", metrics={})
    return net.eval()


def test_a_photo_becomes_one_picture(tmp_path, photo_path):
    save(tmp_path / "imphmr.safetensors", **FIELD)
    assert imagine(photo_path, tmp_path / "out", model=tmp_path / "imphmr.safetensors") == 0
    (path,) = (tmp_path / "out").iterdir()
    picture = cv2.imread(str(path))
    assert path.name == "three_people_imagined.jpg"
    assert picture.shape[0] % 3 == 0 and picture.shape[0] > 2000  # three people, one below the other
    assert picture.std() > 20


def test_impossible_requests_are_reported(tmp_path, photo_path):
    save(tmp_path / "cliff.safetensors", "cliff")
    with pytest.raises(UsageError, match=r"cliff\.safetensors: a network of the kind cliff does not imagine"):
        imagine(photo_path, tmp_path, model=tmp_path / "cliff.safetensors")
    save(tmp_path / "field.safetensors", view_range=0.0, **FIELD)
    with pytest.raises(UsageError, match="trained without other views: train with view_range above 0"):
        imagine(photo_path, tmp_path, model=tmp_path / "field.safetensors")
    with pytest.raises(UsageError, match=r"no model .*absent\.safetensors"):
        imagine(photo_path, tmp_path, model=tmp_path / "absent.safetensors")
    save(tmp_path / "imphmr.safetensors", **FIELD)
    with pytest.raises(UsageError, match="is a folder; give one photo in it"):
        imagine(tmp_path, tmp_path, model=tmp_path / "imphmr.safetensors")
    with pytest.raises(UsageError, match=r"cannot create the output folder .*imphmr\.safetensors"):
        imagine(photo_path, tmp_path / "imphmr.safetensors", model=tmp_path / "imphmr.safetensors")
    with pytest.raises(UsageError, match=r"absent\.jpg: no such file"):
        imagine(tmp_path / "absent.jpg", tmp_path, model=tmp_path / "imphmr.safetensors")
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UsageError, match=r"empty\.png: no person found"):
        imagine(tmp_path / "empty.png", tmp_path, model=tmp_path / "imphmr.safetensors")


def test_views_and_how_far_they_are_apart(tmp_path):
    net = save(tmp_path / "a.safetensors", **FIELD)
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    boxes = np.array([[10, 10, 60, 100], [80, 5, 150, 110]])
    views = imagine_people(net, image, boxes, Camera.from_diagonal((160, 120)))
    assert views.pose.shape == (2, 4, 24, 3, 3) and views.silhouettes.shape == (2, 4, 64, 64)
    assert views.degrees.shape == (2, 4, 24) and views.degrees[:, 0].max() < 0.2
    # Each column is inferred in its own direction, and compared with the first one turned there.
    people, pixels = cut_crops(net, image, boxes, DETECTION_ENLARGE)
    bbox_info = box_to_bbox_info(people, Camera.from_diagonal((160, 120))).float()
    for column, direction in enumerate((0, np.pi / 2, np.pi, 3 * np.pi / 2)):
        phi = torch.full((2,), direction)
        with torch.no_grad():
            there = net.imagine(net.prepare(pixels), bbox_info, phi).prediction.pose
        torch.testing.assert_close(views.pose[:, column], there, atol=1e-4, rtol=0)
        cos, sin = np.cos(direction), np.sin(direction)
        back = torch.tensor([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=torch.float32)
        torch.testing.assert_close(views.turned[:, column, 0], back @ views.pose[:, 0, 0], atol=1e-4, rtol=0)
    # An untrained network sees the same from everywhere: at 180 degrees its root is half a turn off.
    behind = rotate_root(views.pose[:, 0], torch.full((2,), np.pi))
    torch.testing.assert_close(views.turned[:, 2], behind, atol=1e-5, rtol=0)
    assert views.degrees[:, 2, 0].min() > 150 and views.degrees[:, 2, 1:].max() < 30


def tile(page, row, column):
    x, y = (1 + column) * (picture._TILE + picture._GAP) + picture._GAP, 4 * picture._FONT
    y += row * (2 * picture._FONT + picture._TILE + picture._GAP)
    return page[y : y + picture._TILE, x : x + picture._TILE].astype(int)


def test_each_row_of_the_picture_shows_what_it_says():
    pose = torch.eye(3).expand(1, 4, 24, 3, 3)
    turned = rotate_root(pose[0], torch.arange(4) * torch.pi / 2)[None]
    silhouettes = torch.zeros(1, 4, 64, 64)
    silhouettes[:, 1] = 1
    nobody = np.zeros((1, 48, 36, 3), np.uint8)
    views = NovelViews(nobody, pose, torch.zeros(1, 4, 11), turned, silhouettes, torch.zeros(1, 4, 24))
    body = load_body(num_betas=11)
    page, other = draw(views, body), draw(views._replace(pose=turned, turned=pose), body)
    for column in range(4):
        assert np.array_equal(tile(page, 0, column), tile(other, 1, column))
        assert np.array_equal(tile(page, 1, column), tile(other, 0, column))
        assert (tile(page, 2, column).mean() < 50) == (column == 1)
    # Seen from the side a person with spread arms is narrow.
    widths = [(tile(page, 1, column) != 240).any((0, 2)).sum() for column in range(4)]
    assert min(widths[0], widths[2]) > 1.5 * max(widths[1], widths[3])
    assert np.array_equal(tile(page, 0, 0), tile(page, 0, 3))


def test_the_largest_people_are_drawn(tmp_path, photo_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(command, "_MAX_PEOPLE", 1)
    monkeypatch.setattr(
        "fullframe.imagine.novel_views.imagine_people",
        lambda net, image, boxes, camera: drawn.append(boxes) or imagine_people(net, image, boxes, camera),
    )
    save(tmp_path / "imphmr.safetensors", **FIELD)
    assert imagine(photo_path, tmp_path, model=tmp_path / "imphmr.safetensors") == 0
    assert "the 1 largest of 3 people from 4 directions" in capsys.readouterr().err
    boxes = find_people(load_detector(), read_photo(photo_path).pixels).boxes
    largest = np.argmax(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    np.testing.assert_array_equal(drawn[0], boxes[largest][None])


def test_the_camera_is_the_users(tmp_path, photo_path, monkeypatch):
    cameras = []
    monkeypatch.setattr(
        "fullframe.imagine.novel_views.imagine_people",
        lambda net, image, boxes, camera: cameras.append(camera) or imagine_people(net, image, boxes, camera),
    )
    model = tmp_path / "imphmr.safetensors"
    save(model, **FIELD)
    width, height = read_photo(photo_path).size
    lens = {"K": np.diag([900.0, 900, 1]).tolist(), "size": [width, height], "distortion": [-0.2, 0, 0, 0]}
    lens["K"][0][2], lens["K"][1][2] = width / 2, height / 2
    (tmp_path / "lens.json").write_text(json.dumps(lens))
    for given in (
        {},
        {"focal": 900.0},
        {"fov": 60.0},
        {"intrinsics": (800.0, 810.0, 300.0, 200.0)},
        {"camera": str(tmp_path / "lens.json")},
    ):
        assert imagine(photo_path, tmp_path, model=model, **given) == 0
    unknown, focal, fov, intrinsics, calibrated = cameras
    assert unknown == Camera.from_diagonal((width, height))
    assert focal.focal == (900.0, 900.0)
    assert fov.focal[0] == pytest.approx(width / 2 / np.tan(np.radians(30)))
    assert calibrated.focal == (900.0, 900.0) and calibrated.distortion == (-0.2, 0, 0, 0)
    assert intrinsics.focal == (800.0, 810.0) and intrinsics.principal_point == (300.0, 200.0)
    with pytest.raises(UsageError, match="give only one of focal, fov, vertical fov, intrinsics and camera"):
        imagine(photo_path, tmp_path, model=model, focal=900.0, fov=60.0)


def test_the_first_column_of_a_gated_network_is_the_result_of_run():
    torch.manual_seed(0)
    net = create_model("imphmr", **SMALL, **FIELD, feature_gate=True).eval()
    torch.nn.init.xavier_uniform_(net.regressor.decpose.weight)
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    camera, boxes = Camera.from_diagonal((160, 120)), np.array([[10, 10, 60, 100]])
    views, bodies = imagine_people(net, image, boxes, camera), predict_people(net, image, boxes, camera)
    np.testing.assert_allclose(views.pose[:, 0].numpy(), bodies.pose, atol=1e-5)


def test_the_built_in_network_is_the_default(tmp_path, photo_path):
    assert imagine(photo_path, tmp_path) == 0
    assert (tmp_path / "three_people_imagined.jpg").is_file()
    image = read_photo(photo_path)
    network = require_novel_views(load_model("imphmr-lite").network)
    boxes, _ = load_detector().boxes(image.pixels)
    views = imagine_people(network, image.pixels, boxes, Camera.from_diagonal(image.size))
    # What is inferred from the side and from behind is the same body, turned.
    assert views.degrees[:, 1:, 0].median() < 30 and views.degrees[:, 1:, 1:].mean() < 15


def test_people_of_a_turned_photo_are_found(photo_path, tmp_path, capsys):
    turned = tmp_path / "turned.png"
    cv2.imwrite(str(turned), np.rot90(read_photo(photo_path).pixels)[..., ::-1])
    assert imagine(turned, out=tmp_path) == 0
    assert "3 people" in capsys.readouterr().err
