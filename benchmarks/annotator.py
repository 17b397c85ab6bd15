"""Methods of `fullframe annotate` on people of whom only 2D is given.

    python benchmarks/annotator.py cliff-lite [--people 1000] [--out runs/annotator]
    python benchmarks/annotator.py cliff-lite --gestures --out runs/annotator-gestures
    python benchmarks/annotator.py cliff-lite --grid --people 200 --out runs/annotator-grid

The first people of synth-val are labelled from their 17 COCO keypoints in the photo: once true, once with the
noise, the gaps and the confusions of a detector. The truth is only measured against. Ablations leave out the
explicit prior (nothing holds the network to its first predictions) or the implicit one (the network starts
with its encoder's released weights alone, and is held to the pretrained network's predictions).

--gestures takes the frames of gestures instead, real people: their true joints in the image, and those that
the built-in detector finds, as for photos without annotations. Errors are those of `fullframe evaluate
gestures`.

--grid measures settings of the fine-tuning on other synthetic people than those of synth-val, so that the
table stays a test. Stopped runs are resumed; all write <out>/annotator.md or grid.md, ready for
docs/experiments/annotator.md. Seconds are those spent, crops already cut.
"""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch.utils.data import Subset

from fullframe.annotate.crops import SHARD_SIZE, Crops, prepare
from fullframe.annotate.job import Job, predict
from fullframe.annotate.methods import cliff_annotator as cliff
from fullframe.annotate.methods import eft, smplify
from fullframe.annotate.methods.tuner import Tuning
from fullframe.annotate.photo_people import ANNOTATOR_MIN_CONFIDENCE
from fullframe.body import JOINT_SETS, load_body
from fullframe.data.crop import read_pixels
from fullframe.data.sample import Sample
from fullframe.detect import load_detector
from fullframe.evaluate import predictions as evaluation
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.protocol import Protocol
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.evaluate.protocols.shared import LIMB_COLUMNS
from fullframe.evaluate.protocols.synth import ROTATION
from fullframe.evaluate.report import markdown_table, number
from fullframe.io.atomic import atomic_path
from fullframe.io.workdir import WorkDir
from fullframe.models import Bodies, CropRegressor, create_model, load_model
from fullframe.synth.synthetic_people import VAL_SEED, SyntheticPeople, synth_val

NOISE = 0.02
"""Of detected keypoints: standard deviation in units of the box's longer side,"""
MISSING, CONFUSED, ASTRAY = 0.15, 0.03, 0.03
"""shares not found, with left and right exchanged, and anywhere in the box."""

GRID = {
    "learning_rate": (1e-4, 3e-4),
    "pose": (0.1, 1.0, 10.0),
}


@dataclass(frozen=True)
class Method:
    """A row of the table: `scratch` without the network, `untrained` with the encoder as it was released."""

    run: Callable[[Job], Bodies]
    scratch: bool = False
    untrained: bool = False


def keep(job: Job) -> Bodies:
    return predict(job.pretrained[0], job.crops, job.work, job.progress, stage=job.stage)


METHODS = {
    "no fine-tuning": Method(keep),
    "fit": Method(smplify.annotate_lifted),
    "CLIFF annotator": Method(cliff.annotate),
    "EFT": Method(eft.annotate),
    "SMPLify from scratch": Method(smplify.annotate, scratch=True),
    "SMPLify from the network": Method(smplify.annotate),
    "annotator without explicit prior": Method(
        lambda job: cliff.annotate(job, replace(Tuning(), pose=0.0, betas=0.0))
    ),
    "annotator without implicit prior": Method(cliff.annotate, untrained=True),
}


def main(
    model: Annotated[str, tyro.conf.Positional],
    /,
    people: int = 1000,
    out: Path = Path("runs/annotator"),
    grid: bool = False,
    gestures: bool = False,
    methods: tuple[str, ...] = tuple(METHODS),
) -> None:
    network, card = load_model(model)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    body = load_body(card.body, num_betas=network.num_betas)
    if gestures:
        protocol = PROTOCOLS["gestures"]
        some = protocol.open(Path())
        people = len(some)
    else:
        protocol = PROTOCOLS["synth"]
        everyone = SyntheticPeople("val", VAL_SEED + 1) if grid else synth_val()
        some = Subset(everyone, range(people))  # type: ignore[arg-type, assignment]
    made_by = {"model": card.sha256, "grid": grid, "gestures": gestures}
    work = WorkDir(out, {**made_by, "people": people, "tuning": asdict(Tuning())})
    truth = evaluation.predict(evaluation.load_predictor(model), some, out / "truth", made_by)
    shards = work.shards("crops", size=SHARD_SIZE, count=people)
    crops, problems, _ = prepare(some, "coco17", shards, network)
    assert not [p for p in problems if "outside" not in p], problems
    given = {"true 2D": crops}
    if gestures:
        given["detected 2D"] = detected(crops, some)
    else:
        given["detector-like 2D"] = as_detected(crops)
    rows = []
    for source, seen in given.items():
        stage = source.replace(" ", "_")
        initial = predict(network, seen, work, stage=f"{stage}/initial")
        job = Job(seen, body, network, initial, work, stage)
        if grid:
            rows += try_settings(source, job, truth)
            continue
        for name in methods:
            method = METHODS[name]
            own = replace(job, stage=f"{stage}/{name.replace(' ', '_')}")
            if method.scratch:
                own = replace(own, network=None, initial=None)
            if method.untrained:
                own = replace(own, network=untrained(network))
            clock = Clock(out / own.stage)
            bodies = method.run(replace(own, progress=clock))
            seconds = clock.seconds() / people * 1000
            rows.append([source, name, *measured(protocol, truth, bodies, body.name), f"{seconds:.0f}"])
            print(" | ".join(rows[-1]), flush=True)
    first = ["2D", *(GRID if grid else ["method"])]
    last = [*protocol_columns(protocol), *(["root position mm"] if protocol is PROTOCOLS["synth"] else [])]
    table = markdown_table([[*first, *last, *([] if grid else ["s / 1,000 people"])], *rows])
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads"
    )
    about = f"{people} people, {Path(model).stem} ({card.data}), {device}.\n"
    with atomic_path(out / ("grid.md" if grid else "annotator.md")) as temporary:
        temporary.write_text(f"{table}\n{about}", encoding="utf-8")
    print(f"{table}\n{about}")


def try_settings(source: str, job: Job, truth: evaluation.Predictions) -> list[list[str]]:
    """A row for each combination of GRID, the best MPJPE first."""
    found = []
    for values in itertools.product(*GRID.values()):
        settings = dict(zip(GRID, values, strict=True))
        own = replace(job, stage=f"{job.stage}/{'_'.join(map(str, values))}")
        scores = job.work.path / own.stage / "scores.json"
        if not scores.is_file():
            bodies = cliff.annotate(own, replace(Tuning(), **settings))
            row = measured(PROTOCOLS["synth"], truth, bodies, job.body.name)
            own.state.clear()
            with atomic_path(scores) as temporary:
                temporary.write_text(json.dumps(row))
        found.append([source, *map(str, values), *json.loads(scores.read_text())])
        print(" | ".join(found[-1]), flush=True)
    return sorted(found, key=lambda row: float(row[1 + len(GRID)]))


class Clock:
    """Adds up the time of a job over all runs that it takes, in a file beside it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.last = folder.with_name(f"{folder.name}.seconds"), time.monotonic()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        with self.path.open("a") as file:
            file.write(f"{now - self.last:.4f}\n")
        self.last = now

    def seconds(self) -> float:
        return sum(map(float, self.path.read_text().split()))


def untrained(network: CropRegressor) -> CropRegressor:
    """The same kind of network with nothing learned but its encoder's released weights."""
    torch.manual_seed(0)
    fresh = create_model(network.name, **network.options, pretrained=True)
    return fresh.to(next(network.parameters()).device).eval()


def as_detected(crops: Crops) -> Crops:
    """The people with keypoints as a detector might find them; the same in every run."""
    rng = np.random.default_rng(5)
    points = crops.keypoints.copy()
    people, joints = points.shape[:2]
    longer = crops.longer_side[:, None, None]
    points[..., :2] += NOISE * longer * rng.normal(size=(people, joints, 2))
    confused = rng.random((people, joints)) < CONFUSED
    mirrored = points[:, list(JOINT_SETS["coco17"].flip_permutation)]
    points = np.where(confused[..., None], mirrored, points)
    astray = rng.random((people, joints, 1)) < ASTRAY
    anywhere = crops.boxes[:, None, :2] + rng.random((people, joints, 2)) * (
        crops.boxes[:, None, 2:] - crops.boxes[:, None, :2]
    )
    points[..., :2] = np.where(astray, anywhere, points[..., :2])
    # A detector is less sure where it errs, and its confidence shows it only roughly.
    points[..., 2] *= np.where(confused | astray[..., 0], 0.5, 0.9) + rng.uniform(-0.2, 0.1, (people, joints))
    points *= (rng.random((people, joints, 1)) >= MISSING) & (points[..., 2:] > 0)
    return replace(crops, keypoints=points.astype(np.float32))


def detected(crops: Crops, people: Sequence[Sample]) -> Crops:
    """The people with the keypoints that the built-in detector finds in their boxes."""
    detector = load_detector()
    found = [detector.keypoints(read_pixels(one), one.box[None])[0] for one in people]
    keypoints = np.stack(found)
    return replace(crops, keypoints=keypoints * (keypoints[..., 2:] >= ANNOTATOR_MIN_CONFIDENCE))


def protocol_columns(protocol: Protocol) -> tuple[str, ...]:
    """The errors that the table shows."""
    if protocol is PROTOCOLS["gestures"]:
        return LIMB_COLUMNS
    return ("MPJPE mm", "PA-MPJPE mm", "PVE mm", ROTATION)


def measured(protocol: Protocol, truth: evaluation.Predictions, bodies: Bodies, body: str) -> list[str]:
    """The protocol's errors, and root position errors of synthetic people."""
    predictions = replace(truth, pose=bodies.pose, betas=bodies.betas, translation=bodies.translation)
    loaded = BodyCache(body)
    scores = protocol.measure(predictions, loaded).values
    values = [float(scores[name]) for name in protocol_columns(protocol)]
    if protocol is PROTOCOLS["synth"]:
        away = np.linalg.norm(
            pelvis(loaded, body, bodies.betas, bodies.translation)
            - pelvis(loaded, "open", truth.true_betas, truth.true_translation),
            axis=1,
        )
        values.append(1000 * float(np.median(away)))
    return [number(value) for value in values]


def pelvis(
    bodies: BodyCache, name: str, betas: NDArray[np.float32], translation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(N, 3) in the camera frame."""
    rest = bodies.load(name, betas.shape[1]).rest_joints(torch.from_numpy(betas))
    return rest[:, 0].numpy() + translation


if __name__ == "__main__":
    tyro.cli(main)
