import numpy as np
import pytest
import roma
import torch

from fullframe.body import load_body
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.protocols.emdb import COLUMNS, JITTER, PROTOCOL

measure = PROTOCOL.measure


def about_y(degrees: float) -> np.ndarray:
    vector = torch.tensor([0, np.radians(degrees), 0], dtype=torch.float64)
    return roma.rotvec_to_rotmat(vector).numpy().astype(np.float32)


def test_the_truth_has_no_error(make_people, perfect):
    scores = measure(perfect(make_people(10)), BodyCache("open"))
    assert list(scores.values) == [*COLUMNS, JITTER]
    np.testing.assert_allclose([scores.values[name] for name in COLUMNS], 0, atol=2e-3)


def test_a_turned_body_by_hand(make_people, perfect):
    samples = make_people(1)
    predictions = perfect(samples)
    predictions.pose[0, 0] = about_y(40) @ predictions.pose[0, 0]
    values = measure(predictions, BodyCache("open")).values
    body = load_body(num_betas=11)
    out = body(*(torch.from_numpy(x[None]) for x in (samples[0].betas, samples[0].pose)))
    joints, skin = (x[0].numpy().astype(np.float64) for x in (out.joints, out.vertices))
    hips = (joints[1] + joints[2]) / 2
    for name, points in (("MPJPE mm", joints), ("MVE mm", skin)):
        about = points - hips
        expected = 1000 * np.linalg.norm(about @ about_y(40).T - about, axis=1).mean()
        assert values[name] == pytest.approx(expected, abs=1e-2)
    assert values["MPJAE deg"] == pytest.approx(40, abs=1e-3)
    np.testing.assert_allclose([values[n] for n in COLUMNS if n.startswith("PA")], 0, atol=2e-2)


def test_jitter_is_that_of_each_sequence_in_order_of_frames(make_people, perfect):
    """A shaking elbow in one of two sequences: the mean over sequences is half of its jitter."""
    samples = make_people(1) * 10
    predictions = perfect(samples)
    predictions.sequences = np.array(["a"] * 5 + ["b"] * 5)
    order = np.array([3, 0, 4, 1, 2, *range(5, 10)])
    predictions.frames = order.astype(np.int64)
    # The upper arm swings by the angle of the frame in sequence a.
    for row, frame in enumerate(order[:5]):
        predictions.pose[row, 16] = predictions.pose[row, 16] @ about_y(10.0 * frame**2)
    values = measure(predictions, BodyCache("open")).values
    body = load_body(num_betas=11)
    elbow = []
    for frame in range(5):
        row = list(order).index(frame)
        out = body(torch.from_numpy(predictions.betas[[row]]), torch.from_numpy(predictions.pose[[row]]))
        elbow.append(out.joints[0, 18].numpy().astype(np.float64))
    x = np.array(elbow)
    third = x[3:] - 3 * x[2:-1] + 3 * x[1:-2] - x[:-3]
    # Only the elbow moves of those that count: wrist and hand are set to zero. 30 frames a second, 24 joints.
    expected = np.linalg.norm(third, axis=1).mean() / 24 * 30**3 / 10
    assert values[JITTER] == pytest.approx(expected / 2, rel=1e-3)
    assert expected > 1
