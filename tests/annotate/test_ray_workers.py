"""The same labels on Ray as in one process, also if its workers are killed."""

import logging
import os
import pickle
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny

from fullframe.annotate import pipeline
from fullframe.annotate.labels import Labels
from fullframe.annotate.methods import cliff_annotator as cliff
from fullframe.annotate.methods import smplify
from fullframe.annotate.methods.tuner import Tuning
from fullframe.annotate.photo_people import SharedDetector
from fullframe.annotate.pipeline import annotate
from fullframe.cli.annotate import annotate as command
from fullframe.cli.console import UsageError
from fullframe.io import ray_workers as ray_module
from fullframe.io.image import read_photo
from fullframe.io.ray_workers import ray_workers
from fullframe.io.workdir import WorkError


@pytest.fixture(scope="module")
def two_cpus(tiny_encoder):
    """Ray on two cores of this computer, whose workers know the tiny encoder; skips without Ray."""
    ray = pytest.importorskip("ray", reason="needs the extra scale")
    pytest.importorskip("ray.data", reason="needs the extra scale")
    path = os.pathsep.join((str(Path(tiny.__file__).parent), os.environ.get("PYTHONPATH", "")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else other tests have all cores
        patch.setenv("PYTHONPATH", path)
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=400 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()


@contextmanager
def killed(flag: Path):
    """Workers on Ray, one of which is killed when it is to make the third and the fourth person."""
    with ray_workers("local") as workers:

        def killing(make, spans):
            def make_or_die(start, end):
                if start == 2 and not flag.exists():
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                make(start, end)

            return workers(make_or_die, spans)

        yield killing


def same_labels(a: Path, b: Path) -> None:
    ours, theirs = (Labels.load(path.with_name(f"{path.stem}_people.npz")) for path in (a, b))
    assert len(ours) == 4
    for name, value in vars(ours).items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            np.testing.assert_allclose(getattr(theirs, name), value, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(getattr(theirs, name), value)


@pytest.mark.parametrize("method", ["smplify", "cliff"])
def test_labels_are_the_same(two_cpus, method, checkpoint, photos, tmp_path, monkeypatch):
    flag = tmp_path / "killed"
    if method == "smplify":
        monkeypatch.setattr(pipeline, "ray_workers", lambda address: killed(flag))
    monkeypatch.setattr(cliff, "Tuning", lambda: Tuning(least_steps=3, passes=1))
    monkeypatch.setattr(smplify, "_SHARD_SIZE", 2)
    people, reports, lock = tmp_path / "people.json", [], threading.Lock()

    def progress(*report):
        """Cannot be pickled, like a progress bar."""
        with lock:
            reports.append(report)

    settings = {"method": method, "model": checkpoint}
    annotate(photos, tmp_path / "a.npz", people, **settings)
    annotate(photos, tmp_path / "b.npz", people, ray="local", progress=progress, **settings)
    same_labels(tmp_path / "a.npz", tmp_path / "b.npz")
    assert flag.exists() == (method == "smplify")
    stages = ["reading photos", "predicting", "labels"]
    assert [stage for stage, done, total in reports if done == total == 4 and stage in stages] == stages


def test_the_error_of_a_worker_is_raised(two_cpus):
    def fail(start, end):
        raise WorkError("a file is damaged; remove it")

    with ray_workers("local") as workers:
        with pytest.raises(WorkError, match=r"^a file is damaged; remove it$"):
            list(workers(fail, [(0, 1), (1, 2)]))
        assert list(workers(fail, [])) == []


def test_many_shards_make_few_tasks(two_cpus, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_module, "TASKS", 2)
    spans = [(start, start + 3) for start in range(0, 30, 3)]
    with ray_workers("local") as workers:
        done = list(workers(lambda start, end: (tmp_path / str(start)).touch(), spans))
    assert sorted(done) == spans and len(list(tmp_path.iterdir())) == 10


def test_a_detector_can_be_pickled(photo_path):
    photo, detector = read_photo(photo_path).pixels, SharedDetector("builtin")
    sent = pickle.loads(pickle.dumps(detector))
    boxes = detector.boxes(photo)[0]
    np.testing.assert_array_equal(sent.boxes(photo)[0], boxes)
    np.testing.assert_array_equal(sent.keypoints(photo, boxes), detector.keypoints(photo, boxes))


def test_without_ray(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'fullframe\[scale\]'"):
        command((tmp_path / "people.json", photos), tmp_path / "labels.npz", "smplify", ray="local")
