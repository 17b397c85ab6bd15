import zipfile

import av
import numpy as np
import pytest
from waving import SIZE, waving_clip

from fullframe.recovery.photo import Recoverer
from fullframe.results.clip import Clip
from fullframe.results.people import People
from fullframe.view import recover_upload as recover
from fullframe.view.recover_upload import Choices, recover_upload


@pytest.fixture(scope="module")
def recoverer():
    return Recoverer()


@pytest.fixture
def empty_clip(tmp_path):
    """A clip of four frames without people."""
    path = tmp_path / "upload.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=5)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE[::-1], 3), 90, np.uint8))
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return path


def test_a_photo(tmp_path, recoverer, photo_path):
    file = tmp_path / "upload.jpeg"
    file.write_bytes(photo_path.read_bytes())
    stages = []
    result = recover_upload(
        recoverer, file, "My <photo>/..x.jpg", Choices(60), lambda stage, done, total: stages.append(stage)
    )
    assert [path.name for path in result.files] == ["x_overlay.jpg", "x.npz", "x.glb", "x_bvh.zip"]
    assert all(path.parent == tmp_path and path.stat().st_size > 1000 for path in result.files)
    people = People.load(result.files[1])
    # The temporary folder is not published.
    assert len(people) == 3 == len(result.clip) and str(tmp_path) not in people.image
    assert result.clip.video == str(file) and people.camera.source == "fov"
    assert stages == ["finding people", "writing files"]


def test_a_clip_without_anybody(empty_clip, recoverer):
    reports = []
    result = recover_upload(recoverer, empty_clip, "a.mp4", Choices(), lambda *report: reports.append(report))
    assert [path.name for path in result.files][:2] == ["a_overlay.mp4", "a.npz"]
    assert len(result.clip) == 0 and Clip.load(result.files[1]).num_frames == 4
    assert "_bvh.zip" not in str(result.files)
    done = [report[1] for report in reports if report[0] == "finding people"]
    assert done == [1, 2, 3, 4] and ("drawing the overlay", 4, 4) in reports


def test_bvh_of_everybody_in_one_file(empty_clip, recoverer, monkeypatch):
    clip = waving_clip(recoverer.body, 2, 4, str(empty_clip))

    class Result:
        pass

    Result.clip = clip
    monkeypatch.setattr(recover, "process", lambda *args, **kwargs: Result)
    choices = Choices(save=("npz", "glb", "bvh"))
    result = recover_upload(recoverer, empty_clip, "b.mov", choices, lambda stage, done, total: None)
    assert result.picture.name == "b_overlay.mp4"
    assert [path.name for path in result.files] == ["b.npz", "b.glb", "b_bvh.zip"]
    assert sorted(zipfile.ZipFile(result.files[-1]).namelist()) == ["b_0.bvh", "b_1.bvh"]
    assert Clip.load(result.files[0]).video == "b.mov" and result.clip.video == str(empty_clip)


def test_progress_can_cancel(empty_clip, recoverer):
    class Enough(Exception):
        pass

    def stop(stage, done, total):
        raise Enough

    with pytest.raises(Enough):
        recover_upload(recoverer, empty_clip, "a.mp4", Choices(), stop)
    assert list(empty_clip.parent.iterdir()) == [empty_clip]


def test_choices_of_the_page():
    assert Choices.from_message({"fov": 60, "lockFeet": True, "save": ["glb", "npz"]}) == Choices(
        60, True, "smpl", ("npz", "glb")
    )
    assert Choices.from_message({"save": []}) == Choices(save=())


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"save": ["exe"]},
        {"save": [], "rig": "maya"},
        {"save": [], "rig": ["vrm"]},
        {"save": "glb"},
        {"save": [["glb"]]},
        {"save": [], "fov": 0},
        {"save": [], "fov": "9"},
    ],
    ids=str,
)
def test_choices_that_no_page_offers(message):
    with pytest.raises(ValueError, match="Choose|camera angle"):
        Choices.from_message(message)
