import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullframe.io.annotations.annotation_file import AnnotatedImage
from fullframe.io.annotations.photo_matching import Unmatched, find_photos, match_photos


def match(photos, images):
    named = [AnnotatedImage(i) if isinstance(i, str) else AnnotatedImage(number=i) for i in images]
    return match_photos([PurePosixPath(photo) for photo in photos], named)


CAMERAS = ["photos/camA/000001.jpg", "photos/camB/000001.jpg"]


@pytest.mark.parametrize(
    ("photos", "images", "wanted"),
    [
        (CAMERAS, ["camB/000001.jpg", "camA/000001.jpg"], [1, 0]),
        (CAMERAS[1:], ["camA/000001.jpg", "camB/000001.jpg"], [1]),
        (CAMERAS, ["C:\\data\\camB\\000001.jpg", "d:\\data\\camA\\000001.jpg"], [1, 0]),
        (CAMERAS, ["/elsewhere/camA/000001.JPG", "./camB/000001.jpg"], [0, 1]),
        (["x/team.jpg"], ["Team.jpg"], [0]),
        (["x/team.jpg"], ["photos/TEAM"], [0]),
        (["a/23082be9-team.jpg"], ["images\\23082be9-team.jpg"], [0]),
        (["a/team.jpg"], ["images\\23082be9-team.jpg"], [0]),
        (["785.JPG", "000000000036.jpg"], [36, 785], [1, 0]),
        (["COCO_val2014_000000000785.jpg"], ["000000000785.jpg"], [0]),
        (["val/000000000785.jpg"], ["x/COCO_train2014_000000000785.jpg"], [0]),
    ],
)
def test_the_longest_path_that_agrees(photos, images, wanted):
    assert match(photos, images) == wanted


@pytest.mark.parametrize(
    ("photos", "images", "message"),
    [
        (["IMG_1.jpg"], ["frame_0001.jpg"], "it names frame_0001.jpg"),
        (["IMG_1.jpg"], [1], "it has numbers for images"),
        (["frame_0001.jpg"], [1], "it has numbers for images"),
        (["team.png"], ["team.jpg"], "it names team.jpg"),
        (CAMERAS, ["000001.jpg"], "matches photos/cam.*as well: give file_name with its folders"),
        (["c/1.jpg"], ["a/1.jpg", "b/1.jpg"], "2 images could be meant"),
        (["a.jpg"], ["a.jpg", "a.jpg"], "2 images could be meant"),
        (["7.jpg"], ["one.jpg"], "it names one.jpg"),
        (["a.jpg"], [], "it names no images"),
    ],
)
def test_ambiguous_or_missing_photos_are_reported(photos, images, message):
    for result in match(photos, images):
        assert isinstance(result, Unmatched)
        assert re.search(message, str(result))


def test_names_that_no_file_can_have(tmp_path):
    (tmp_path / "a.jpg").touch()
    names = ["x" * 300 + "/b.jpg", "c\0.jpg", "a.jpg"]
    assert find_photos(tmp_path, [AnnotatedImage(name) for name in names]) == names


def test_only_the_nearest_photo_gets_an_image():
    assert match(CAMERAS, ["camA/000001.jpg"])[0] == 0
    assert "and better" in str(match(CAMERAS, ["camA/000001.jpg"])[1])


_part = st.sampled_from(["a", "b", "cam1", "IMG", "x.y"])
_paths = st.lists(
    st.lists(_part, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + ".jpg"),
    min_size=1, max_size=8, unique=True,
)  # fmt: skip


@given(photos=_paths, data=st.data())
def test_a_photo_never_gets_the_image_of_another(photos, data):
    """Images whose names are ends of the photos' paths, in any order, written on any system."""
    order = data.draw(st.permutations(range(len(photos))))
    images, whole = [], []
    for k in order:
        parts = photos[k].split("/")
        keep = data.draw(st.integers(1, len(parts)))
        images.append(data.draw(st.sampled_from(["/", "\\"])).join(parts[-keep:]))
        whole.append(keep == len(parts))
    for photo, result in enumerate(match([f"root/{p}" for p in photos], images)):
        if isinstance(result, int):
            parts = photos[photo].split("/")
            named = images[result].replace("\\", "/").split("/")
            # Nothing that the file says contradicts the path, and no other image says more of it.
            agree = sum(1 for k in range(1, min(len(parts), len(named)) + 1) if parts[-k:] == named[-k:])
            others = [i.replace("\\", "/").split("/") for n, i in enumerate(images) if n != result]
            assert parts[-1] == named[-1]
            assert all(parts[-(agree):] != other[-(agree):] or len(other) < agree for other in others)
    if all(whole) and len({p.split("/")[-1] for p in photos}) == len(photos):
        assert match([f"root/{p}" for p in photos], images) == [order.index(k) for k in range(len(photos))]


def test_it_is_linear_in_photos_and_images():
    count = 20_000
    names = [f"cam{k % 7}/{k:06}.jpg" for k in range(count)]
    assert match([f"root/{name}" for name in names], names[::-1]) == list(range(count))[::-1]
