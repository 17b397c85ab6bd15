"""Evaluate a model on a benchmark: predictions in files, then scores, tables and pictures from them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fullframe.body import BodyModel
from fullframe.data.sample import Sample
from fullframe.evaluate import plots
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import load_predictor
from fullframe.evaluate.protocol import Protocol
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.evaluate.report import Report, joint_estimates, off_axis_bins, write_sequences
from fullframe.io.atomic import atomic_path
from fullframe.io.progress import Progress, silent
from fullframe.models.checkpoint import read_card
from fullframe.recovery.photo import FIT

FINGERPRINT_SAMPLES = 200
"""People of a benchmark, evenly spread, by which a change of it is noticed and its bodies are found."""


def evaluate_model(
    benchmark: str,
    model: str | Path,
    root: str | Path | None,
    out: str | Path,
    *,
    refine: bool = False,
    workers: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Measure a model on a benchmark and write everything into a folder.

    The folder then holds predictions/, report.md, scores.json, sequences.csv, worst.jpg, and with matplotlib
    joints.png and angles.png; for AGORA and SMPL submission.zip too.

    Args:
        benchmark: key of PROTOCOLS.
        model: "cliff-lite", a checkpoint (.safetensors) with its card, or "keypoint-fit".
        root: folder of the data set; not used where the data come with fullframe.
        out: folder of the results.
        refine: fit the network's bodies to detected keypoints, as `fullframe run` does by default.
        workers: see predictions.predict.
        progress: the callback.

    Raises:
        FileNotFoundError: a file of the data set is missing.
        CheckpointError: the checkpoint cannot be used.
        BodyFileError: SMPL is needed and missing.
        ValueError: for an unknown benchmark, other predictions in the folder, or damaged data.
    """
    if benchmark not in PROTOCOLS:
        raise ValueError(f"unknown benchmark {benchmark!r}; known: {', '.join(PROTOCOLS)}")
    protocol, out = PROTOCOLS[benchmark], Path(out)
    if root is None and protocol.needs_root:
        raise ValueError(f"{benchmark} needs its data: give their folder with --root")
    card = None if str(model) == FIT else read_card(model)
    recoverer = load_predictor(model, refine)
    samples = protocol.open(Path(root or ""))
    if not len(samples):
        raise ValueError(f"{root}: no people of {benchmark} in this folder")
    some = [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, FINGERPRINT_SAMPLES).astype(int))]
    bodies = BodyCache(recoverer.body.name)
    _check_bodies(bodies, recoverer.body, protocol, some)
    request = {
        "model": FIT if card is None else card.sha256,
        "refine": refine,
        "benchmark": benchmark,
        "root": "" if root is None else str(Path(root).resolve()),
        "labels": _fingerprint(some),
    }
    predictions = protocol.predict(
        recoverer,
        samples,
        out / "predictions",
        request,
        enlarge=protocol.enlarge,
        workers=workers,
        progress=progress,
    )
    progress("computing metrics", 0, None)
    scores = protocol.measure(predictions, bodies)
    notes = [*getattr(samples, "notes", ()), *scores.notes]
    if protocol.extras is not None:
        notes += protocol.extras(predictions, bodies, out)
    clusters = predictions.sequences if protocol.by_sequence else None
    bins = off_axis_bins(scores, predictions.off_axis, clusters)
    joints = joint_estimates(scores, clusters)
    column = next((name for name, values in scores.people.items() if not np.isnan(values).all()), None)
    if column is None:
        raise ValueError(f"no sample of {benchmark} could be evaluated: {' '.join(notes)}")
    plots.draw_worst(out / "worst.jpg", samples, predictions, bodies, column, scores.people[column])
    if plots.have_matplotlib():
        unit = "% of the box" if column.startswith("PCK") else "mm"
        plots.draw_joints(out / "joints.png", joints, unit)
        plots.draw_angles(out / "angles.png", bins, column)
    else:
        notes.append("No charts, since matplotlib is not installed: pip install matplotlib")
    about = {"name": recoverer.name, "body": recoverer.body.name}
    if card is not None:
        about |= {"sha256": card.sha256, "data": card.data}
    report = Report(benchmark, about, len(predictions), protocol, scores, bins, joints, notes)
    for name, text in (("report.md", report.markdown()), ("scores.json", report.json())):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_sequences(out / "sequences.csv", scores, predictions.sequences)
    return report


def _check_bodies(bodies: BodyCache, body: BodyModel, protocol: Protocol, people: Sequence[Sample]) -> None:
    """Load all bodies, kid templates and regressors: a missing one is an error before hours of work."""
    models = {body.name: bodies.load(body.name, body.num_betas)}
    for sample in people:
        if sample.betas is not None:
            bodies.shaped(sample.body, sample.betas[None], np.array([sample.kid], np.float32))
            models[sample.body] = bodies.load(sample.body, len(sample.betas))
    for model in models.values():
        for joint_set in protocol.regressors:
            model.regressor(joint_set)


def _fingerprint(people: Sequence[Sample]) -> str:
    """Differs between data sets, versions of their labels, and versions of a generator."""
    digest = hashlib.sha256()
    for sample in people:
        digest.update(repr((sample.name, sample.camera, sample.window, sample.body, sample.kid)).encode())
        arrays = (sample.image, sample.box, sample.pose, sample.betas, sample.translation)
        for array in (*arrays, *sample.keypoints.values(), *sample.joints.values()):
            if isinstance(array, np.ndarray):
                digest.update(array.tobytes())
    return digest.hexdigest()[:16]
