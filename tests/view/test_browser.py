"""Both pages in a real browser."""

import os
import tempfile

import av
import numpy as np
import pytest
from browsers import click, hide_notes, press, see, wait_until
from scipy.spatial.transform import Rotation
from waving import SIZE, waving_clip

pytest.importorskip("viser", reason="needs the extra view")

from fullframe.body import load_body
from fullframe.recovery.photo import Recoverer
from fullframe.render.colors import person_colors
from fullframe.results.people import People
from fullframe.view import app, app_session, show
from fullframe.view.viewer import fitting_fov

BODY = load_body()
RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 160, 30), (30, 30, 200), (200, 200, 30)


def video_of_quarters(path, frames: int) -> None:
    """A different colour in each corner; all are dark in the second half of the clip."""
    width, height = SIZE
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, YELLOW
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for k in range(frames):
            shown = image if k < frames // 2 else image // 4
            for packet in stream.encode(av.VideoFrame.from_ndarray(shown)):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def test_view_from_the_camera(tmp_path, service, page):
    """People cover their places in the picture, which stands upright behind them; the slider moves both.

    A camera that turns sees the same from where it is.
    """
    video_of_quarters(tmp_path / "clip.mp4", 10)
    clip = waving_clip(BODY, 2, 10, str(tmp_path / "clip.mp4"))
    turns = np.radians(np.linspace(0, 60, 10))[:, None] * (0, 1, 0)
    clip.camera_rotation = Rotation.from_rotvec(turns).as_matrix()
    clip.save(tmp_path / "clip.npz")
    page.goto(service(show, show.show, tmp_path, None))
    page.locator("label", has_text="person 1").wait_for()
    hide_notes(page)
    click(page.get_by_label("Play"))  # it plays from the start
    slider = page.get_by_role("slider").first

    def at(image, point):
        """The colour where a point of the camera frame is seen."""
        height, width = image.shape[:2]
        focal = height / 2 / np.tan(fitting_fov(clip, width / height) / 2)
        x, y = np.rint(focal * point[:2] / point[2] + [width / 2, height / 2]).astype(int)
        return image[y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1))

    def hue_is(seen, color):
        seen, color = (np.array(c, float) - np.mean(c) for c in (seen, color))
        assert seen @ color > 0.93 * np.linalg.norm(seen) * np.linalg.norm(color)

    def check(frame, brightness):
        people = clip.people(frame, BODY)

        def condition(image):
            for joints, color in zip(people.joints, person_colors(people.track_ids), strict=True):
                for name in (0, 3, 16, 17, 18, 19, 20, 21):  # pelvis, spine, shoulders, elbows, wrists
                    hue_is(at(image, joints[name]), color)
            for x, y, color in ((-1, -1, RED), (1, -1, GREEN), (-1, 1, BLUE), (1, 1, YELLOW)):
                corner = np.array([0.95 * x * SIZE[0] / 2, 0.95 * y * SIZE[1] / 2, clip.camera.focal[0]])
                np.testing.assert_allclose(at(image, corner), np.array(color) * brightness, atol=12)

        see(page, condition)

    press(slider, "Home")
    click(page.get_by_role("button", name="camera"))
    check(0, 1)
    press(slider, "End")
    click(page.get_by_role("button", name="camera"))
    check(9, 0.25)

    click(page.get_by_label("Mesh"))
    click(page.get_by_label("Paths"))
    spine = clip.people(9, BODY).joints[0, 3]

    def picture_only(image):
        assert at(image, spine).max() < 80  # the picture's dark quarters

    see(page, picture_only)
    click(page.get_by_label("Skeleton"))
    see(page, lambda image: hue_is(at(image, spine), person_colors([0])[0]))


def test_another_result_is_chosen_while_one_plays(tmp_path, service, page):
    for name, people in (("one", 1), ("two", 2)):
        waving_clip(BODY, people, 30).save(tmp_path / f"{name}.npz")
    problems = []
    page.on("pageerror", lambda error: problems.append(error))
    page.goto(service(show, show.show, tmp_path, None))
    labels, shown = page.locator("label", has_text="person"), "one"
    labels.first.wait_for()
    for name, people in (("two", 2), ("one", 1), ("two", 2)):
        click(page.locator(f"input[aria-haspopup=listbox][value={shown}]"))
        click(page.get_by_role("option", name=name, exact=True))
        wait_until(lambda people=people: labels.count() == people)
        shown = name

        def everybody(image, people=people):
            for color in person_colors(range(people)):
                turned = image @ (color - color.mean()) / np.linalg.norm(color - color.mean())
                assert (turned > 40).sum() > 200

        see(page, everybody)
    assert not problems


def bodies_are_seen(page, people: int) -> None:
    """People in their colours in the scene."""

    def seen(image):
        for color in person_colors(range(people)):
            turned = image @ (color - color.mean()) / np.linalg.norm(color - color.mean())
            assert (turned > 40).sum() > 200

    see(page, seen, page.frame_locator("#scene").locator("canvas").first)


def test_app(tmp_path, service, page, photo_path, monkeypatch):
    monkeypatch.setattr(app_session, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url = service(app, app.serve_app, Recoverer(), ["fullframe", "run", "--body", "open"])
    problems = []
    page.on("pageerror", lambda error: problems.append(error))
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(url)
    # The example is shown at once, on a phone and on a desktop.
    page.locator("#summary", has_text="3 people").wait_for()
    for width, height in ((390, 844), (1440, 860)):
        page.set_viewport_size({"width": width, "height": height})
        wait_until(lambda: page.locator("#picture img").evaluate("image => image.naturalWidth") > 100)
        bodies_are_seen(page, 3)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    names = {"fake.jpg": b"hello, world", "large.jpg": np.random.default_rng(0).bytes(3_000_000)}
    names["../we <b>meet</b> again.jpg"] = photo_path.read_bytes()
    page.locator("#input").set_input_files(
        [{"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in names.items()]
    )
    files = page.locator("#files li")
    files.filter(has_text="not a photo or clip that can be read").wait_for(state="attached")
    files.filter(has_text="The file has 3 MB").wait_for(state="attached")
    # The first result of one's own takes the example's place.
    page.locator("#title", has_text="again.jpg").wait_for(timeout=240_000)
    page.locator("#summary", has_text="3 people").wait_for()
    page.locator("#camera").select_option("70")
    page.locator("#rig").select_option("mixamo")
    command = page.locator("#command").inner_text()
    assert command.startswith("fullframe run '")
    assert command.endswith("again.jpg' -o out --body open --fov 70 --rig mixamo --save overlay,npz,glb,bvh")
    with page.expect_download() as download:
        page.locator("#downloads a", has_text="npz").click()
    people = People.load(download.value.path())
    assert len(people) == 3 and people.image.endswith("again.jpg") and str(tmp_path) not in people.image

    files.filter(has_text="squats.mp4").locator(".open").click()
    page.locator("#picture video").wait_for()
    wait_until(lambda: page.locator("#picture video").evaluate("video => video.videoWidth") > 100)
    bodies_are_seen(page, 1)
    assert not problems
    page.close()
    # Not rglob, which fails if a folder is deleted meanwhile.
    wait_until(lambda: {name for _, _, names in os.walk(tmp_path) for name in names} <= {".lock"})
