"""CLIFF against HMR where keypoints are the input: does a lifter still need to know where a person stands?

    python benchmarks/lifter_location.py [--people 300_000] [--seeds 2] [--out runs/lifter-location]

Trains four lifters alike, on the same simulated detections in the same order. HMR sees the keypoints in the
crop, as if the crop were in the middle of the picture. CLIFF gets the location of the crop in addition (Li et
al., ECCV 2022, eq. 5), and its reprojection is in the full frame (eq. 6-8). Both predict the root's rotation
in the camera frame. The other two see the keypoints turned to the ray through their mean and predict the root
relative to it, without location, and with it: the last is the lifter as it ships.

Measured on simulated people whose poses training never draws, by the angle of the crop off the optical axis,
and on gestures and pairs with the keypoints of the built-in detector. pairs come from the folder that
FULLFRAME_SHARED names, and are left out where it is absent. ± is half of the 95 % interval.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from ablation import rows
from common import PAIRS, protocol_of
from rich.progress import track
from torch import Tensor
from variants import difference, mean_over_seeds

from fullframe.body.joint_sets import COCO17_LIMBS
from fullframe.data.crop import read_pixels
from fullframe.detect import load_detector
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Scores, means
from fullframe.evaluate.protocols.shared import LIMB_COLUMNS
from fullframe.evaluate.protocols.synth import ROTATION
from fullframe.evaluate.report import estimate, markdown_table, off_axis_bins
from fullframe.geometry.camera import project
from fullframe.io.atomic import atomic_path
from fullframe.models.crop_regressor import Prediction
from fullframe.models.lift_people import lift_people
from fullframe.models.lifter import LifterNetwork, RayEstimate, RayFrame, own_frame, to_camera
from fullframe.models.predict import Bodies
from fullframe.synth.detections import FastBody, SimulatedDetections, Simulator
from fullframe.train.lifter_training import LifterLosses, batches

HMR_WIDTH = 224 / 5000
"""The tangent that HMR's crop covers: 224 px at a focal length of 5000 px."""
VALIDATION = 12_000
"""Simulated people, two thirds of whom are in view."""


@dataclass(frozen=True)
class Form:
    """What a lifter sees and predicts.

    Attributes:
        ray: keypoints turned to their ray and the root relative to it, instead of the crop and the camera.
        location: whether the direction and the size of the keypoints in the full frame are inputs.
    """

    ray: bool
    location: bool


FORMS = {
    "HMR": Form(ray=False, location=False),
    "CLIFF": Form(ray=False, location=True),
    "ray, no location": Form(ray=True, location=False),
    "ray and location": Form(ray=True, location=True),
}


class Lifter(LifterNetwork):
    """The lifter in one of the forms."""

    def __init__(self, form: Form) -> None:
        super().__init__(width=576)
        self.form = form

    def frame(self, keypoints: Tensor, bbox_info: Tensor) -> RayFrame:
        """As own_frame; without the ray, what HMR sees of the crop, its turn the identity."""
        if self.form.ray:
            return own_frame(keypoints, bbox_info)
        axis = torch.tensor([0, 0, HMR_WIDTH]).expand_as(bbox_info)
        crop = own_frame(keypoints, axis)
        scale = bbox_info[:, 2] / HMR_WIDTH
        center = bbox_info[:, :2] + scale[:, None] * crop.center
        return crop._replace(
            center=center, turn=torch.eye(3).expand(len(center), 3, 3), spread=scale * crop.spread
        )

    def estimate(self, frame: RayFrame, confidence: Tensor, features: Tensor | None = None) -> RayEstimate:
        if not self.form.location:
            frame = frame._replace(
                center=torch.zeros_like(frame.center), spread=torch.ones_like(frame.spread)
            )
        return super().estimate(frame, confidence, features)

    def forward(
        self, keypoints: Tensor, bbox_info: Tensor, features: Tensor | None = None
    ) -> tuple[Prediction, Tensor]:
        frame = self.frame(keypoints, bbox_info)
        found = self.estimate(frame, keypoints[..., 2])
        if not self.form.ray:  # the crop's translation, in the full frame
            ray = frame.center / frame.spread[:, None]
            found = found._replace(place=torch.cat((found.place[:, :2] + ray, found.place[:, 2:]), 1))
        return to_camera(found, frame, bbox_info), found.log_variance


class CropLosses(LifterLosses):
    """The losses of HMR, whose reprojection is that of the crop's own camera, and of CLIFF's full frame."""

    def __init__(self, full_frame: bool) -> None:
        super().__init__()
        self.full_frame = full_frame

    def __call__(
        self, estimate: RayEstimate, frame: RayFrame, truth: SimulatedDetections
    ) -> tuple[Tensor, dict[str, Tensor]]:
        shift = torch.nn.functional.pad(frame.center * truth.translation[:, 2:], (0, 1))
        return super().__call__(estimate, frame, truth._replace(translation=truth.translation - shift))

    def projected(self, joints: Tensor, translation: Tensor, frame: RayFrame) -> Tensor:
        if self.full_frame:
            shift = torch.nn.functional.pad(frame.center * translation[:, 2:], (0, 1))
            rays = project(joints + (translation + shift)[:, None], 1.0) - frame.center[:, None]
            return rays / frame.spread[:, None, None]
        return super().projected(joints, translation, frame)


def main(
    people: int = 300_000,
    seeds: int = 2,
    batch: int = 256,
    rate: float = 8e-4,
    out: Path = Path("runs/lifter-location"),
) -> None:
    """Train and measure.

    Args:
        people: that each lifter sees.
        seeds: trainings of each form.
        batch: people a step.
        rate: the first learning rate; it falls to zero over the second half.
        out: folder of the weights, which are not trained again, and of the table.
    """
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    lifters = [train(out / f"{people}-{seed}.pt", people, batch, rate, seed) for seed in range(seeds)]
    held_out = Simulator(2022, "val").draw(VALIDATION)
    angles = torch.rad2deg(held_out.bbox_info[:, :2].norm(dim=1).atan()).numpy()
    scores = {
        name: mean_over_seeds([simulated_errors(nets[name], held_out) for nets in lifters]) for name in FORMS
    }
    bins = {name: off_axis_bins(of, angles) for name, of in scores.items()}
    apart = {
        name: off_axis_bins(difference(of, scores["HMR"]), angles)
        for name, of in scores.items()
        if name != "HMR"
    }
    tables = [rows(bins, f"lifter ({seeds} seeds)"), rows(apart, "less HMR, of the same people")]
    tables += [
        real_people(name, lifters) for name in ("gestures", "pairs") if name != "pairs" or PAIRS.is_dir()
    ]
    text = "\n".join(markdown_table(table) for table in tables)
    with atomic_path(out / "table.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


def train(path: Path, people: int, batch: int, rate: float, seed: int) -> dict[str, Lifter]:
    """A lifter of each form, the mean of its weights over the last steps."""
    torch.manual_seed(seed)
    first = Lifter(FORMS["HMR"]).state_dict()
    nets, losses, means_, optimizers = {}, {}, {}, {}
    for name, form in FORMS.items():
        nets[name], means_[name] = Lifter(form), Lifter(form).requires_grad_(False).eval()
        nets[name].load_state_dict(first)
        means_[name].load_state_dict(first)
        losses[name] = LifterLosses() if form.ray else CropLosses(form.location)
        optimizers[name] = torch.optim.AdamW(
            nets[name].parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
    if path.exists():
        state = torch.load(path, weights_only=True)
        for name, net in means_.items():
            net.load_state_dict(state[name])
        return means_
    source, steps = batches(Simulator(1 + seed), batch), people // batch
    for step in track(range(steps), f"seed {seed}"):
        truth = next(source)
        now = rate * min(1, (step + 1) / 500, 2 * (1 - step / steps))
        keep = min(0.99, (1 + step) / (10 + step))
        for name, net in nets.items():
            frame = net.frame(truth.keypoints, truth.bbox_info)
            with torch.autocast("cpu", torch.bfloat16):
                found = net.estimate(frame, truth.keypoints[..., 2])
            loss, _ = losses[name](found, frame, truth)
            for group in optimizers[name].param_groups:
                group["lr"] = now
            optimizers[name].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizers[name].step()
            torch._foreach_lerp_(list(means_[name].parameters()), list(net.parameters()), 1 - keep)
    with atomic_path(path) as temporary:
        torch.save({name: net.state_dict() for name, net in means_.items()}, temporary)
    return means_


@torch.inference_mode()
def simulated_errors(net: Lifter, people: SimulatedDetections) -> Scores:
    """Errors of the twelve joints of the limbs from the middle of the hips, and of the root's rotation."""
    prediction, _ = net(people.keypoints, people.bbox_info)
    found = FastBody()(prediction.betas, prediction.pose)[0][:, COCO17_LIMBS].numpy()
    truth = people.joints[:, COCO17_LIMBS].numpy()
    columns = {
        "MPJPE mm": metrics.mpjpe(found, truth, [6, 7]),
        "PA-MPJPE mm": metrics.pa_mpjpe(found, truth),
        ROTATION: metrics.rotation_error(prediction.pose[:, 0].numpy(), people.pose[:, 0].numpy()),
    }
    return Scores(means(columns), columns, medians=(ROTATION,))


def real_people(name: str, lifters: list[dict[str, Lifter]]) -> list[list[str]]:
    """A table of the forms on real people with 3D truth."""
    protocol = protocol_of(name)
    samples = protocol.open(PAIRS)
    detector = load_detector("builtin")
    keypoints = [detector.keypoints(read_pixels(sample), sample.box[None]) for sample in samples]
    table = [[f"{name}: lifter", *LIMB_COLUMNS]]
    for form in FORMS:
        scores = []
        for nets in lifters:
            bodies = Bodies.joined(
                lift_people(nets[form], points, sample.box[None], sample.camera).bodies
                for points, sample in zip(keypoints, samples, strict=True)
            )
            predictions = Predictions.of(samples, bodies)
            scores.append(protocol.measure(predictions, BodyCache("open")))
        clusters = predictions.sequences if protocol.by_sequence else None
        people = mean_over_seeds(scores).people
        table.append([form, *(str(estimate(people[column], clusters)) for column in LIMB_COLUMNS)])
    return table


if __name__ == "__main__":
    tyro.cli(main)
