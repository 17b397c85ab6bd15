"""Train the lifter on simulated detections, and on some in pictures: src/fullframe/assets/lifter.safetensors.

    python tools/train_lifter.py RUN --people 20e6           # the same command resumes
    python tools/train_lifter.py RUN --people 22e6 --cool    # the learning rate falls to zero
    python tools/train_lifter.py RUN --people 23e6 --labels LABELS.npz --detected FOLDER --rate 2e-4 --cool
    python tools/train_lifter.py RUN --save lifter.safetensors  # with the same --labels and --detected

With --labels (of `fullframe annotate`) poses of photos are simulated too; with --detected half of the people
are those whom tools/detect_augmented.py detected in pictures.

One core learns from about 3,000 people a second. RUN/log.csv has a line for every half million: the losses'
terms, and what the mean of the weights reaches on people whose poses training never draws.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from fullframe.body.joint_sets import COCO17_LIMBS
from fullframe.models.checkpoint import save_checkpoint
from fullframe.models.lifter import LifterNetwork
from fullframe.synth.detections import FastBody, Simulator
from fullframe.synth.poses import poses_of_labels
from fullframe.train.lifter_training import LifterTrainer, load_detections

PEOPLE = 4000
DATA = (
    "{people:.1f} million simulated detections: poses of CMU motion capture and DeepMimic and made-up ones, "
    "random cameras, errors of the built-in detector as measured on 103 photos of COCO."
)


def main(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    people: float = 20e6,
    cool: bool = False,
    width: int = 576,
    blocks: int = 4,
    batch: int = 256,
    rate: float = 8e-4,
    labels: tuple[Path, ...] = (),
    detected: Path | None = None,
    save: Path | None = None,
) -> None:
    torch.set_num_threads(1)
    poses = np.concatenate([poses_of_labels(path) for path in labels]) if labels else None
    people_in_pictures = None if detected is None else load_detections(detected)
    trainer = LifterTrainer(
        run,
        {"width": width, "blocks": blocks},
        batch=batch,
        rate=rate,
        poses=poses,
        detected=people_in_pictures,
    )
    if save is None:
        trainer.run(int(people), Measure(), cool=cool)
        return
    metrics = Measure()(trainer.mean.eval())
    data = DATA.format(people=trainer.people / 1e6)
    if labels:
        data += " Poses of labelled photos too."
    if detected is not None:
        data += " Half of the last people were detected in pictures."
    save_checkpoint(
        trainer.mean, save, body="open", data=data, licence="Apache-2.0", metrics=metrics, dtype="fp16"
    )


class Measure:
    """Errors on simulated people of the validation split."""

    def __init__(self) -> None:
        self.people = Simulator(2022, "val").draw(PEOPLE)
        self.body = FastBody()

    @torch.inference_mode()
    def __call__(self, net: LifterNetwork) -> dict[str, float]:
        people = self.people
        prediction, _ = net(people.keypoints, people.bbox_info)
        apart = self.body(prediction.betas, prediction.pose)[0] - people.joints
        hips = (apart - apart[:, [11, 12]].mean(1, keepdim=True))[:, COCO17_LIMBS].norm(dim=2)
        centred = (apart - apart[:, COCO17_LIMBS].mean(1, keepdim=True))[:, COCO17_LIMBS].norm(dim=2)
        root = (prediction.pose[:, 0].mT @ people.pose[:, 0]).diagonal(dim1=1, dim2=2).sum(1)
        angle = torch.rad2deg(((root - 1) / 2).clamp(-1, 1).acos())
        return {
            "simulated MPJPE mm": 1000 * hips.mean().item(),
            "simulated centred MPJPE mm": 1000 * centred.mean().item(),
            "simulated root rotation degrees": angle.mean().item(),
        }


if __name__ == "__main__":
    tyro.cli(main)
