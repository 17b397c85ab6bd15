"""Every method brings bodies nearer to their keypoints and can be resumed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.annotate.job import Job
from fullframe.annotate.labels import score_labels
from fullframe.annotate.methods import cliff_annotator as cliff
from fullframe.annotate.methods import eft, smplify
from fullframe.annotate.methods.tuner import Tuner, Tuning
from fullframe.annotate.photo_people import Annotations
from fullframe.annotate.pipeline import keep_predictions
from fullframe.models import Bodies

QUICK = Tuning(learning_rate=1e-4, batch_size=4, passes=10, least_steps=12)
ALONE = replace(QUICK, batch_size=1, passes=6, least_steps=0)


class Killed(BaseException):
    pass


class Kill:
    """Stops a job when it reports progress in a stage the n-th time."""

    def __init__(self, stage: str, times: int) -> None:
        self.stage, self.left = stage, times

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.left -= stage == self.stage
        if not self.left:
            raise Killed


def labels(job: Job, bodies: Bodies):
    n = len(job.crops)
    people = Annotations(
        "here", "coco17", np.full(n, "a.jpg"), job.crops.sizes, np.arange(n), job.crops.boxes, None
    )
    initial = None if bodies is job.initial else job.initial
    return score_labels(job.crops, people, bodies, initial, job.body, "test")


def same(a: Bodies, b: Bodies) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("method", "factor"),
    [
        (lambda job: cliff.annotate(job, QUICK), 0.9),
        (lambda job: eft.annotate(job, ALONE), 0.7),
        (smplify.annotate_lifted, 0.5),
        (smplify.annotate, 0.5),
        (lambda job: smplify.annotate(replace(job, network=None, initial=None)), 0.5),
    ],
    ids=["cliff", "eft", "fit", "smplify", "smplify from scratch"],
)
def test_a_method_brings_bodies_to_their_keypoints(job, method, factor):
    before = labels(job, keep_predictions(job))
    after = labels(job, method(job))
    assert after.reprojection.mean() < factor * before.reprojection.mean()
    assert (after.agreement > 1).all() and np.isnan(before.agreement).all()
    assert (after.translation[:, 2] > 0.5).all()


def test_the_explicit_prior_holds_the_network(job):
    held = cliff.annotate(job, replace(QUICK, pose=50.0))
    free = cliff.annotate(replace(job, stage="free"), replace(QUICK, pose=0.0, betas=0.0))
    assert labels(job, held).agreement.mean() < 0.8 * labels(job, free).agreement.mean()


def test_the_network_given_is_left_as_it_is(job):
    before = {key: value.clone() for key, value in job.network.state_dict().items()}
    cliff.annotate(job, replace(QUICK, least_steps=2, passes=1))
    eft.annotate(job, replace(ALONE, passes=1))
    after = job.network.state_dict()
    assert all((after[key] == value).all() for key, value in before.items())


def test_people_do_not_share_what_eft_learns(job):
    """All start from the same weights: the order of people does not matter."""
    tuner = Tuner(job.network, job.body, ALONE)
    start = [weight.detach().clone() for weight in tuner.weights]
    first = tuner.step(job.crops, job.initial, np.array([2]), 0.0)
    tuner.restart(start)
    tuner.step(job.crops, job.initial, np.array([1]), 0.0)
    tuner.restart(start)
    assert tuner.step(job.crops, job.initial, np.array([2]), 0.0) == first


def test_statistics_and_scales_of_normalisation_stay(job):
    tuner = Tuner(job.network, job.body, QUICK)
    before = {k: v.clone() for k, v in tuner.network.state_dict().items() if "bn" in k}
    tuner.step(job.crops, job.initial, np.arange(4), 0.0)
    after = tuner.network.state_dict()
    assert before and all((after[key] == value).all() for key, value in before.items())


def test_an_interrupted_annotator_resumes(job, monkeypatch):
    monkeypatch.setattr(cliff, "SAVE_SECONDS", 0.0)
    short = replace(QUICK, least_steps=4, passes=1)
    whole = cliff.annotate(job, short)
    again = replace(job, stage="again")
    with pytest.raises(Killed):
        cliff.annotate(replace(again, progress=Kill("fine-tuning", 2)), short)
    seen = []
    resumed = cliff.annotate(replace(again, progress=lambda *report: seen.append(report)), short)
    assert same(whole, resumed)
    assert seen[0] == ("fine-tuning", 3, 4)


@pytest.mark.parametrize("method", [eft, smplify])
def test_finished_people_are_not_computed_again(job, monkeypatch, method):
    monkeypatch.setattr(method, "_SHARD_SIZE", 2)
    quick = (replace(ALONE, passes=2),) if method is eft else ()
    whole = method.annotate(job, *quick)
    again = replace(job, stage="again")
    with pytest.raises(Killed):
        method.annotate(replace(again, progress=Kill("labels", 2)), *quick)
    first = job.work.path / "again/labels/000000000/arrays.npz"
    stamp = first.stat().st_mtime_ns
    assert same(whole, method.annotate(again, *quick))
    assert first.stat().st_mtime_ns == stamp


def test_a_network_is_required(job):
    for method in (cliff.annotate, eft.annotate, keep_predictions):
        with pytest.raises(ValueError, match="--model"):
            method(replace(job, network=None, initial=None))


@settings(max_examples=30)
@given(people=st.integers(1, 50), batch_size=st.integers(1, 20), number=st.integers(0, 3))
def test_each_person_is_in_one_batch_per_epoch(people, batch_size, number):
    steps = -(-people // min(people, batch_size))
    seen = [cliff.people_of_step(number * steps + i, people, batch_size) for i in range(steps)]
    assert sorted(np.concatenate(seen).tolist()) == list(range(people))
    assert Tuning(batch_size=batch_size, passes=3, least_steps=0).steps(people) == 3 * steps
