"""From photos with 2D keypoints to files of labels."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from fullframe.annotate.crops import SHARD_SIZE, Crops, prepare
from fullframe.annotate.job import Job, predict
from fullframe.annotate.labels import Labels, score_labels, write_cliff
from fullframe.annotate.methods import cliff_annotator, eft, smplify
from fullframe.annotate.methods.tuner import Tuning
from fullframe.annotate.photo_people import PhotoPeople, SharedDetector, find_people, read_people
from fullframe.annotate.report_page import write_page
from fullframe.body import BodyModel, load_body
from fullframe.io.annotations.read import annotations_digest
from fullframe.io.atomic import atomic_path
from fullframe.io.image import PHOTO_SUFFIXES
from fullframe.io.progress import Progress, silent
from fullframe.io.ray_workers import ray_workers
from fullframe.io.workdir import WorkDir, Workers, file_state, in_process
from fullframe.models import Bodies, CropRegressor, LoadedModel, load_model
from fullframe.recovery.photo import FIT, NETWORK


def keep_predictions(job: Job) -> Bodies:
    """The network's initial predictions as labels: no fine-tuning."""
    return job.pretrained[1]


METHODS: dict[str, Callable[[Job], Bodies]] = {
    "fit": smplify.annotate_lifted,
    "cliff": cliff_annotator.annotate,
    "eft": eft.annotate,
    "smplify": smplify.annotate,
    "none": keep_predictions,
}

_TUNINGS = {"cliff": asdict(Tuning()), "eft": asdict(eft.TUNING)}


class AnnotationResult(NamedTuple):
    """What `annotate` returns.

    Attributes:
        labels: of all people.
        problems: a message for each person or photo that is left out and for keypoints that are not used.
        files: those written, the requested one first.
    """

    labels: Labels
    problems: list[str]
    files: list[Path]


def annotate(
    images: str | Path,
    out: str | Path,
    annotations: str | Path | None = None,
    *,
    method: str = "fit",
    model: str | Path | None = None,
    detector: str = "builtin",
    body: str | None = None,
    body_path: str | Path | None = None,
    ray: str | None = None,
    progress: Progress = silent,
) -> AnnotationResult:
    """Label the people of photos with bodies.

    Writes `out` in the format of CLIFF's released labels, and beside it <out>_people.npz (Labels), the page
    <out>.html, and <out>_problems.txt if there are any. Finished parts are kept in the folder <out>_work:
    after an interruption the same call resumes. Afterwards it may be removed.

    Args:
        images: the folder of the photos.
        out: ends in .npz.
        annotations: COCO keypoint annotations; without them, or where they have no keypoints, a detector
            finds people and keypoints.
        method: key of METHODS.
        model: name or path of a pretrained network. None: cliff-lite; no network for smplify.
        detector: provider of boxes and keypoints, see `fullframe.detect`.
        body: name of the body; by default the model's, without a model the open one.
        body_path: your file of it, if it is not where `load_body` looks.
        ray: address of a Ray cluster that shares the work, see `fullframe.io.ray_workers`; None for
            this process alone. The labels are the same.

    Raises:
        FileNotFoundError: the annotations or the folder are missing.
        ValueError: they cannot be used at all, no one can be labelled, or the work folder holds work with
            other settings; names file and remedy.
    """
    images, out = Path(images), Path(out)
    _check(images, out, method)
    if ray is not None:  # the workers have other working directories
        images, out = images.resolve(), out.resolve()
    # Each worker has one core.
    device = "cuda" if torch.cuda.is_available() and ray is None else "cpu"
    pretrained, loaded, name = _load_network(model, method, device, body, body_path)
    network = None if pretrained is None else pretrained.network
    people = None if annotations is None else read_people(Path(annotations), images)
    if people is not None and not len(people):
        raise ValueError(
            f"{annotations}: no annotation can be used{_first(people.left_out)}. To have a detector find "
            "people, give the folder of photos alone"
        )
    finder = SharedDetector(detector) if people is None or people.keypoints is None else None
    photos = _find_photos(images) if people is None else []
    request = {
        "images": str(images.resolve()),
        "photos": _fingerprint(images, photos),
        "annotations": "" if annotations is None else annotations_digest(annotations),
        "method": method,
        "tuning": _TUNINGS.get(method, {}),
        "model": name if pretrained is None else pretrained.card.sha256,
        "body": loaded.name,
        "detector": "" if finder is None else finder.name,
    }
    with WorkDir(out.with_name(f"{out.stem}_work"), request) as work, _workers(ray) as workers:
        if people is None:
            assert finder is not None
            people = find_people(images, photos, finder, work, progress, workers)
        samples = PhotoPeople(people, images, finder)
        crops, problems = _prepare(samples, network, method, work, progress, workers)
        problems = [*people.left_out, *problems]
        if not len(crops):
            if finder is None:  # nothing took long: a corrected command may use the same output
                work.remove()
            raise ValueError(f"{people.source}: no labelable people in {images}{_first(problems)}")
        initial = None
        if network is not None:
            initial = predict(network, crops, work, progress, workers)
        bodies = METHODS[method](Job(crops, loaded, network, initial, work, method, progress, workers))
    labels = score_labels(crops, people, bodies, None if bodies is initial else initial, loaded, name)
    return AnnotationResult(labels, problems, _write(out, labels, images, loaded, problems))


def _check(images: Path, out: Path, method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    if out.suffix != ".npz":
        raise ValueError(f"{out}: the name of a file of labels ends in .npz")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: give the name of a file for the labels")
    if images.is_file():
        raise ValueError(f"{images}: give the folder of the photos too, after the annotations")
    if not images.is_dir():
        raise FileNotFoundError(f"{images}: no such folder of photos")


def _first(problems: Sequence[str]) -> str:
    return f"; the first problem: {problems[0]}" if problems else ""


@contextmanager
def _workers(ray: str | None) -> Iterator[Workers]:
    if ray is None:
        yield in_process
    else:
        with ray_workers(ray) as workers:
            yield workers


def _load_network(
    model: str | Path | None, method: str, device: str, body: str | None, body_path: str | Path | None
) -> tuple[LoadedModel | None, BodyModel, str]:
    """The network, the body that it predicts, and the name of network and method in the labels."""
    if model is None and method == "smplify":
        return None, load_body(body or "open", body_path), method
    if model == FIT:
        raise ValueError(f"{FIT} has no network to start from: use the method smplify without a model")
    model = model or NETWORK
    pretrained = load_model(model, body)
    loaded = load_body(pretrained.card.body, body_path, pretrained.network.to(device).num_betas)
    return pretrained, loaded, f"{Path(model).stem}+{method}"


def _find_photos(images: Path) -> list[str]:
    found = (path for path in images.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    photos = sorted(path.relative_to(images).as_posix() for path in found)
    if not photos:
        raise ValueError(f"{images}: no photos in this folder ({', '.join(sorted(PHOTO_SUFFIXES))})")
    return photos


def _fingerprint(images: Path, photos: Sequence[str]) -> str:
    """Changes with names, sizes and times of the photos."""
    states = hashlib.sha256()
    for name in photos:
        states.update(f"{name}\n{file_state(images / name)}\n".encode(errors="surrogateescape"))
    return states.hexdigest()


def _prepare(
    samples: PhotoPeople,
    network: CropRegressor | None,
    method: str,
    work: WorkDir,
    progress: Progress,
    workers: Workers,
) -> tuple[Crops, list[str]]:
    """The crops, and messages about people and keypoints that are not used."""
    shards = work.shards("reading_photos", size=SHARD_SIZE, count=len(samples))
    joint_set = samples.annotations.joint_set
    crops, problems, unread = prepare(samples, joint_set, shards, network, progress, workers)
    repaired = [index for index in unread.tolist() if samples.readable(index)]
    if repaired:
        # Photos that an earlier run could not read: everything that depends on them is computed again. Later
        # stages are removed first, or after a kill in between they would be used with the new crops.
        work.clear_stage("predicting")
        work.clear_stage(method)
        shards.invalidate(repaired)
        crops, problems, _ = prepare(samples, joint_set, shards, network, progress, workers)
    return crops, problems


def _write(out: Path, labels: Labels, images: Path, body: BodyModel, problems: list[str]) -> list[Path]:
    people, page, listed = (
        out.with_name(out.stem + end) for end in ("_people.npz", ".html", "_problems.txt")
    )
    write_page(page, labels, images, body, problems)
    labels.save(people)
    written = [out, people, page]
    listed.unlink(missing_ok=True)
    if problems:
        with atomic_path(listed) as temporary:
            temporary.write_text("\n".join(problems) + "\n", encoding="utf-8")
        written.append(listed)
    write_cliff(labels, out, body)
    return written
