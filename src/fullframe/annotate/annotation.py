"""From photos with 2D keypoints to files of labels."""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from fullframe.annotate import cliff, eft, smplify
from fullframe.annotate.chunks import Advance, here, silent
from fullframe.annotate.crops import prepare
from fullframe.annotate.job import Job, Tuning, predict
from fullframe.annotate.labels import Labels, judge, write_cliff
from fullframe.annotate.page import write_page
from fullframe.annotate.photos import PhotoPeople, SharedDetector, find_people, read_annotations
from fullframe.annotate.scale import ray_workers
from fullframe.body import BodyModel, load_body
from fullframe.files import atomic_path, claim
from fullframe.models import CLIFF, Bodies, load_model
from fullframe.recovery import NETWORK
from fullframe.run.inputs import PHOTO_SUFFIXES


def keep_predictions(job: Job) -> Bodies:
    """The network's first predictions as labels: no fine-tuning."""
    return job.pretrained[1]


METHODS: dict[str, Callable[[Job], Bodies]] = {
    "cliff": cliff.annotate,
    "eft": eft.annotate,
    "smplify": smplify.annotate,
    "none": keep_predictions,
}


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
        ray: address of a Ray cluster that shares the work, see `fullframe.annotate.scale.ray_workers`; None
            for this process alone. The labels are the same.
        advance: told of progress.

    Raises:
        FileNotFoundError: the annotations or the folder are missing.
        ValueError: they cannot be used at all, nobody is left to label, or `out` was begun with other
            settings; names file and remedy.
    """
    images, out = Path(images), Path(out)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    if out.suffix != ".npz":
        raise ValueError(f"{out}: the name of a file of labels ends in .npz")
    if not images.is_dir():
        raise FileNotFoundError(f"{images}: no such folder of photos")
    if ray is not None:  # its workers are elsewhere
        images, out = images.resolve(), out.resolve()
    # They have a core each.
    device = "cuda" if torch.cuda.is_available() and ray is None else "cpu"
    network, body, name = _network(model, method, device)
    told = None if annotations is None else read_annotations(Path(annotations))
    work = out.with_name(f"{out.stem}_work")
    claim(
        work,
        {
            "images": str(images.resolve()),
            "annotations": "" if annotations is None else _digest(Path(annotations)),
            "method": method,
            "tuning": asdict(Tuning()),
            "model": name if network is None or network.card is None else network.card.sha256,
            "detector": "" if told is not None and told.keypoints is not None else detector,
            "fullframe": version("fullframe"),
        },
    )
    with nullcontext(here) if ray is None else ray_workers(ray) as workers:
        finder = None
        if told is None or told.keypoints is None:
            finder = SharedDetector(detector)
            if told is None or not len(told):
                folder = work / "finding_people"
                told = find_people(images, _photos(images), finder, folder, advance, workers)
        people, folder = PhotoPeople(told, images, finder), work / "reading_photos"
        crops, problems = prepare(people, told.joint_set, folder, network, advance, workers)
        problems = [*told.left_out, *problems]
        if not len(crops):
            first = f"; the first problem: {problems[0]}" if problems else ""
            raise ValueError(f"{told.source}: nobody can be labelled in {images}{first}")
        plain = None
        if network is not None:
            plain = predict(network, crops, work / "predicting", advance, workers)
        bodies = METHODS[method](Job(crops, body, network, plain, work / method, advance, workers))
    compared = None if bodies is plain else plain
    labels = judge(crops, told, bodies, compared, body, name)
    return Written(labels, problems, _write(out, labels, images, body, problems))


def _network(model: str | Path | None, method: str, device: str) -> tuple[CLIFF | None, BodyModel, str]:
    """The network, the body that it predicts, and what to call the labels' maker."""
    if model is None and method == "smplify":
        return None, load_body(), method
    model = model or NETWORK
    network = load_model(model).to(device)
    assert network.card is not None
    return network, load_body(network.card.body, num_betas=network.num_betas), f"{Path(model).stem}+{method}"


def _photos(images: Path) -> list[str]:
    found = (path for path in images.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    return sorted(path.relative_to(images).as_posix() for path in found)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
