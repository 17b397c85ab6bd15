"""The accuracy table of docs/benchmarks.md: every shipped model, and others, on real photos and on synth-val.

    python benchmarks/accuracy.py [NAME.safetensors ...] [--out FOLDER]

Ground-truth boxes. coco_dev: PCK@0.1 of the box's longer side, over the labelled joints of people with at
least 12 of them and 100 px of height. lspet val: photos that are never trained on, PCK@0.1 of the box and
PCK@0.2 of the torso. synth-val: 2000 synthetic people; ± is half of the 95 % interval. keypoint-fit sees the
keypoints of the built-in detector; networks are measured alone and with --refine, the fit that starts from
their result. Photos come from the folder that FULLFRAME_SHARED names (default: shared/ beside this).

Predictions are kept in --out, so that a stopped run goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from common import photos_folder
from rich.progress import track

from fullframe.assets import WEIGHTS
from fullframe.body import load_body
from fullframe.data.augment import pixels_of
from fullframe.data.sample import Sample
from fullframe.detect import load_detector
from fullframe.evaluate.posed_bodies import Bodies
from fullframe.evaluate.predictions import Predictions, predict
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.evaluate.protocols.synth import ROTATION
from fullframe.evaluate.report import markdown_table, off_axis_bins
from fullframe.fit import KeypointFitter
from fullframe.models import load_model
from fullframe.models.predict import Bodies as Predicted

SYNTH = ("MPJPE mm", "PA-MPJPE mm", "PVE mm", ROTATION, f"{ROTATION}, median")


def main(
    models: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME.safetensors")] = (),
    out: Path = Path("evaluation/accuracy"),
) -> None:
    photos = photos_folder()
    data = {
        name: PROTOCOLS[name].open(root)
        for name, root in (("coco", photos / "coco_dev"), ("lspet", photos / "lspet"), ("synth", Path()))
    }
    found = {KeypointFitter.name: {name: fitted(out, name, samples) for name, samples in data.items()}}
    for path in (*sorted(WEIGHTS.glob("*.safetensors")), *models):
        network = load_model(path)
        assert network.card is not None
        # Checkpoints of the same name are told apart by their content.
        folder = out / f"{path.stem}-{network.card.sha256[:8]}"
        made_by = {"model": network.card.sha256}
        alone = {
            name: predict(network, samples, folder / name, made_by | {"benchmark": name})
            for name, samples in data.items()
        }
        found[path.stem] = alone
        found[f"{path.stem} --refine"] = {
            name: fitted(folder, name, samples, alone[name]) for name, samples in data.items()
        }
    headings = ("coco_dev PCK@0.1", "lspet val PCK@0.1", "lspet val PCK@0.2 torso")
    table = [["model", *headings, *SYNTH]]
    angles = [["off-axis degrees", "people", "model", *SYNTH]]
    for name, predictions in found.items():
        scores = {each: PROTOCOLS[each].measure(predictions[each], Bodies("open")) for each in data}
        coco, lspet = scores["coco"].values, scores["lspet"].values
        shares = (coco["PCK@0.1 %"], lspet["PCK@0.1 %"], lspet["PCK@0.2 torso %"])
        bins = off_axis_bins(scores["synth"], predictions["synth"].off_axis)
        everyone = [str(bins[0].values[column]) for column in SYNTH]
        table.append([name, *(f"{share / 100:.3f}" for share in shares), *everyone])
        for group in bins:
            angles.append([group.name, str(group.people), name, *(str(group.values[c]) for c in SYNTH)])
    print(markdown_table(table))
    print("synth-val by the angle of the box's centre from the optical axis:\n")
    print(markdown_table(angles))


def fitted(
    folder: Path, name: str, samples: Sequence[Sample], start: Predictions | None = None
) -> Predictions:
    """Bodies fitted to detected keypoints, from a network's predictions if they are given."""
    path = folder / f"{name}-fit.npz"
    if path.exists():
        return Predictions.load(path)
    num_betas = 10 if start is None else start.betas.shape[1]
    fitter, detector = KeypointFitter(load_body("open", num_betas=num_betas)), load_detector()
    people, bodies = [], []
    for index in track(range(len(samples)), f"{folder.name}, {name}"):
        sample = samples[index]
        # The image may be a window of the frame.
        corner, scale = np.array(sample.window[:2]), sample.window[2]
        box = ((sample.box.reshape(2, 2) - corner) / scale).reshape(1, 4).astype(np.float32)
        points = detector.keypoints(pixels_of(sample), box)
        points[..., :2] = points[..., :2] * scale + corner
        one = slice(index, index + 1)
        begin = start and Predicted(start.pose[one], start.betas[one], start.translation[one])
        bodies.append(fitter.fit(points, sample.box[None], sample.camera, start=begin).bodies)
        sample.image = ""
        people.append(sample)
    predictions = Predictions.of(people, Predicted(*map(np.concatenate, zip(*bodies, strict=True))))
    folder.mkdir(parents=True, exist_ok=True)
    predictions.save(path)
    return predictions


if __name__ == "__main__":
    tyro.cli(main)
