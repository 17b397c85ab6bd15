"""A review in a real browser."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra view")

from browsers import click, hide_notes, repeat_until, see, wait_until

from fullframe.annotate.labels import Labels
from fullframe.annotate.pipeline import annotate
from fullframe.annotate.review import ACCEPTED, REJECTED, Review
from fullframe.view import review_page


def test_labels_are_reviewed(photos, tmp_path, service, page):
    """A point dragged, a body turned, verdicts by key and by button, a choice by score, and the export."""
    annotate(photos, tmp_path / "labels.npz", tmp_path / "people.json", method="smplify")
    review = Review(tmp_path / "labels.npz")
    review.labels.reprojection[3] = 0.5
    page.set_viewport_size({"width": 900, "height": 500})
    page.goto(service(review_page, review_page.serve_review, review, photos))
    page.get_by_text("1 of 4: not reviewed").wait_for()
    hide_notes(page)
    canvas = page.locator("canvas").first
    shown = {}

    def squares(image):
        """Photo, photo with the body, and the body alone, white around them."""
        third = image.shape[1] // 3
        left, middle, right = (image[:, i * third : (i + 1) * third] for i in range(3))
        assert (right < 240).any(axis=2).mean() > 0.02
        assert all((part < 240).any(axis=2).mean() > 0.3 for part in (left, middle))
        assert (abs(left.astype(int) - middle) > 40).any(axis=2).mean() > 0.01
        assert (image[:, 2 * third] > 240).all() and (image[:3] > 240).all()
        shown["image"] = image

    see(page, squares)

    def at(x: float, y: float) -> tuple[float, float]:
        """Where the browser shows a place of the table, x right and y down from the middle."""
        box = canvas.bounding_box()
        half = max(0.53, (review_page._SPACING + 0.53) * box["height"] / box["width"])
        unit = box["height"] / 2 / half
        return box["x"] + box["width"] / 2 + unit * x, box["y"] + box["height"] / 2 + unit * y

    def point(k: int, index: int = 0) -> tuple[float, float]:
        labels = review.labels
        box = labels.boxes[index].astype(float)
        place = labels.keypoints[index, k, :2] - (box[:2] + box[2:]) / 2
        x, y = place / (review_page.WINDOW_SCALE * (box[2:] - box[:2]).max())
        return at(x - review_page._SPACING, y)

    def drag(start, by) -> None:
        page.mouse.move(*start)
        page.mouse.down()
        for part in (0.3, 0.6, 1.0):
            page.mouse.move(start[0] + part * by[0], start[1] + part * by[1])
        page.mouse.up()

    # The left wrist, 20 px to the right and up.
    before, unit = review.labels.keypoints[0].copy(), at(1, 0)[0] - at(0, 0)[0]
    box = review.labels.boxes[0]
    repeat_until(lambda: review.changed[0], lambda: drag(point(9), (20, -20)))
    px = review_page.WINDOW_SCALE * (box[2:] - box[:2]).max() / unit
    np.testing.assert_allclose(
        review.labels.keypoints[0, 9, :2] - before[9, :2], [20 * px, -20 * px], atol=2 * px
    )
    np.testing.assert_array_equal(np.delete(review.labels.keypoints[0], 9, 0), np.delete(before, 9, 0))
    page.get_by_text("1 of 4: not reviewed, corrected").wait_for()
    click(page.get_by_role("button", name="Undo corrections"))
    wait_until(lambda: not review.changed[0])
    np.testing.assert_array_equal(review.labels.keypoints[0], before)

    # A click leaves a point out.
    repeat_until(lambda: review.labels.keypoints[0, 0, 2] == 0, lambda: page.mouse.click(*point(0)))

    page.get_by_text("1 of 4: not reviewed, corrected").wait_for()
    page.wait_for_timeout(1000)  # until the body that was fitted is drawn
    see(page, squares)
    straight = shown["image"].astype(int)
    middle = 2 * straight.shape[1] // 3
    body = (straight[:, middle:] < 200).any(axis=2).astype(np.uint8)
    row, column = divmod(int(cv2.distanceTransform(body, cv2.DIST_L2, 3).argmax()), body.shape[1])
    window = canvas.bounding_box()
    drag((window["x"] + middle + column, window["y"] + row), (60, 0))

    def turned(image):
        """The body, and not the view of the table."""
        differs = (abs(image - straight) > 60).any(axis=2)
        assert differs[:, middle:].mean() > 0.01 and differs[:, :middle].mean() < 0.01

    see(page, turned)

    page.keyboard.press("y")
    page.get_by_text("2 of 4: not reviewed").wait_for()
    assert review.verdicts.tolist() == [ACCEPTED, "", "", ""]
    said = [json.loads(line) for line in review.file.read_text().splitlines()]
    assert said[-1] == {"id": 100, "verdict": ACCEPTED}
    click(page.get_by_role("button", name="Reject"))
    page.get_by_text("3 of 4: not reviewed").wait_for()
    page.keyboard.press("PageUp")
    page.get_by_text("2 of 4: rejected").wait_for()
    assert review.verdicts.tolist() == [ACCEPTED, REJECTED, "", ""]

    page.get_by_label("at least").fill("0.3")
    page.get_by_text("1 of 1:").wait_for()
    page.get_by_text("1 of 4 people; 1 accepted, 1 rejected").wait_for()

    click(page.get_by_role("button", name="Write accepted labels"))
    wait_until((tmp_path / "labels_accepted.npz").exists)
    assert Labels.load(tmp_path / "labels_accepted_people.npz").ids.tolist() == [100]


def test_a_photo_that_is_gone_does_not_end_the_review(photos, tmp_path, service, page):
    annotate(photos, tmp_path / "labels.npz", tmp_path / "people.json", method="smplify")
    (photos / "1.jpg").unlink()
    review = Review(tmp_path / "labels.npz")
    page.goto(service(review_page, review_page.serve_review, review, photos))
    page.get_by_text("The photo cannot be shown").first.wait_for()
    page.get_by_text("1 of 4: not reviewed").wait_for()
    page.keyboard.press("n")
    wait_until(lambda: review.verdicts[0] == REJECTED)
