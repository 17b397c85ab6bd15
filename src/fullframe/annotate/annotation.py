"""From photos with 2D keypoints to files of labels."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fullframe.annotate.chunks import Advance, here, silent
from fullframe.annotate.crops import forget, prepare
from fullframe.annotate.job import Job, Tuning, predict
from fullframe.annotate.labels import Labels, judge, write_cliff
from fullframe.annotate.methods import cliff_annotator as cliff
from fullframe.annotate.methods import eft, smplify
from fullframe.annotate.photos import PhotoPeople, SharedDetector, find_people, read_annotations
from fullframe.annotate.report_page import write_page
from fullframe.annotate.scale import ray_workers
from fullframe.body import BodyModel, load_body
from fullframe.cli.inputs import PHOTO_SUFFIXES
from fullframe.io.atomic import atomic_path, claim, digest
from fullframe.models import CLIFF, Bodies, load_model
from fullframe.recover.photo import FIT, NETWORK


def keep_predictions(job: Job) -> Bodies:
    """The network's first predictions as labels: no fine-tuning."""
    return job.pretrained[1]


METHODS: dict[str, Callable[[Job], Bodies]] = {
    "cliff": cliff.annotate,
    "eft": eft.annotate,
    "smplify": smplify.annotate,
    "none": keep_predictions,
}


TUNINGS = {"cliff": asdict(Tuning()), "eft": asdict(eft.TUNING)}
"""Their constants, which decide about what an earlier run left."""


class Written(NamedTuple):
    """What `annotate` leaves.

    Attributes:
        labels: everyone's.
        problems: who is left out and which keypoints are not used, a message each.
        files: that were written, the one asked for first.
    """

    labels: Labels
    problems: list[str]
    files: list[Path]


def annotate(
    images: str | Path,
    out: str | Path,
    annotations: str | Path | None = None,
    *,
    method: str = "cliff",
    model: str | Path | None = None,
    detector: str = "builtin",
    body: str | None = None,
    body_path: str | Path | None = None,
    ray: str | None = None,
    advance: Advance = silent,
) -> Written:
    """Label the people of photos with bodies.

    Writes `out` in the form of CLIFF's released labels, and beside it <out>_people.npz (Labels), the page
    <out>.html, and <out>_problems.txt if there are any. The folder <out>_work keeps what is done so far, so
    that the same call goes on after a kill; afterwards it may be removed.

    Args:
        images: the folder of the photos.
        out: ends in .npz.
        annotations: COCO keypoint annotations; without them, or where they have no keypoints, a detector
            finds people and keypoints.
        method: key of METHODS.
        model: name or path of a pretrained network. None: cliff-lite; smplify then does without.
        detector: provider of boxes and keypoints, see `fullframe.detect`.
        body: name of the body that is wanted; the model's, without a model the open one.
        body_path: your file of it, if it is not where `load_body` looks.
        ray: address of a Ray cluster that shares the work, see `fullframe.annotate.scale.ray_workers`; None
            for this process alone. The labels are the same.
        advance: told of progress.

    Raises:
        FileNotFoundError: the annotations or the folder are missing.
        ValueError: they cannot be used at all, nobody is left to label, or `out` was begun with other
            settings; names file and remedy.
    """
    images, out = Path(images), Path(out)
    _check(images, out, method)
    if ray is not None:  # its workers are elsewhere
        images, out = images.resolve(), out.resolve()
    # They have a core each.
    device = "cuda" if torch.cuda.is_available() and ray is None else "cpu"
    network, loaded, name = _network(model, method, device, body, body_path)
    told = None if annotations is None else read_annotations(Path(annotations))
    if told is not None and not len(told):
        raise ValueError(
            f"{annotations}: annotates nobody who can be labelled{_first(told.left_out)}. To have a detector "
            "look for people, give the folder of photos alone"
        )
    finder = SharedDetector(detector) if told is None or told.keypoints is None else None
    photos = _photos(images) if told is None else []
    work = out.with_name(f"{out.stem}_work")
    claim(
        work,
        {
            "images": str(images.resolve()),
            "photos": _states(images, photos),
            "annotations": "" if annotations is None else digest(annotations),
            "method": method,
            "tuning": TUNINGS.get(method, {}),
            "model": name if network is None or network.card is None else network.card.sha256,
            "body": loaded.name,
            "detector": "" if finder is None else finder.name,
            "fullframe": version("fullframe"),
        },
    )
    with nullcontext(here) if ray is None else ray_workers(ray) as workers:
        if told is None:
            assert finder is not None
            told = find_people(images, photos, finder, work / "finding_people", advance, workers)
        people, folder = PhotoPeople(told, images, finder), work / "reading_photos"
        cut = partial(prepare, people, told.joint_set, folder, network, advance, workers)
        crops, problems, unread = cut()
        mended = np.array([i for i in unread.tolist() if people.readable(i)], np.int64)
        if len(mended):
            # Photos are there by now that an earlier run missed: what follows from them is made again. That
            # goes first, or after a kill in between it would be taken for that of the new crops.
            for later in ("predicting", method):
                shutil.rmtree(work / later, ignore_errors=True)
            forget(folder, mended)
            crops, problems, _ = cut()
        problems = [*told.left_out, *problems]
        if not len(crops):
            if finder is None:  # nothing took long: a corrected command may begin here
                shutil.rmtree(work)
            raise ValueError(f"{told.source}: nobody can be labelled in {images}{_first(problems)}")
        plain = None
        if network is not None:
            plain = predict(network, crops, work / "predicting", advance, workers)
        bodies = METHODS[method](Job(crops, loaded, network, plain, work / method, advance, workers))
    compared = None if bodies is plain else plain
    labels = judge(crops, told, bodies, compared, loaded, name)
    return Written(labels, problems, _write(out, labels, images, loaded, problems))


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


def _network(
    model: str | Path | None, method: str, device: str, body: str | None, body_path: str | Path | None
) -> tuple[CLIFF | None, BodyModel, str]:
    """The network, the body that it predicts, and what to call the labels' maker."""
    if model is None and method == "smplify":
        return None, load_body(body or "open", body_path), method
    if model == FIT:
        raise ValueError(f"{FIT} has no network to start from: use the method smplify without a model")
    model = model or NETWORK
    network = load_model(model, body).to(device)
    assert network.card is not None
    loaded = load_body(network.card.body, body_path, network.num_betas)
    return network, loaded, f"{Path(model).stem}+{method}"


def _photos(images: Path) -> list[str]:
    found = (path for path in images.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    photos = sorted(path.relative_to(images).as_posix() for path in found)
    if not photos:
        raise ValueError(f"{images}: no photos in it ({', '.join(PHOTO_SUFFIXES)})")
    return photos


def _states(images: Path, photos: Sequence[str]) -> str:
    """What tells whether photos are still the same."""
    states = hashlib.sha256()
    for name in photos:
        path = images / name
        state = path.stat() if path.is_file() else None  # a link to nowhere
        told = "" if state is None else f"{state.st_size} {state.st_mtime_ns}"
        states.update(f"{name}\n{told}\n".encode(errors="surrogateescape"))
    return states.hexdigest()


def _write(out: Path, labels: Labels, images: Path, body: BodyModel, problems: list[str]) -> list[Path]:
    people, page, told = (out.with_name(out.stem + end) for end in ("_people.npz", ".html", "_problems.txt"))
    write_page(page, labels, images, body, problems)
    labels.save(people)
    written = [out, people, page]
    told.unlink(missing_ok=True)
    if problems:
        with atomic_path(told) as temporary:
            temporary.write_text("\n".join(problems) + "\n", encoding="utf-8")
        written.append(told)
    write_cliff(labels, out, body)
    return written
