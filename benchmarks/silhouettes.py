"""Speed of ImpHMR's true silhouettes, and how well the reduced body covers the whole one's.

python benchmarks/silhouettes.py
"""

import time

import numpy as np
import torch
import tyro

from fullframe.body import load_body
from fullframe.models.imphmr.imphmr import SILHOUETTE
from fullframe.models.imphmr.silhouettes import Silhouettes, draw_silhouettes
from fullframe.models.imphmr.volume import FIELD_HALF_SIZE_M
from fullframe.synth.synthetic_people import SyntheticPeople


def main(people: int = 256, repeats: int = 10) -> None:
    torch.set_num_threads(1)
    source = SyntheticPeople("val")
    samples = [source[index] for index in range(people)]
    betas, pose = (
        torch.from_numpy(np.stack([getattr(sample, name) for sample in samples])).float()
        for name in ("betas", "pose")
    )
    body = load_body(num_betas=betas.shape[1])
    silhouettes = Silhouettes(body, SILHOUETTE, FIELD_HALF_SIZE_M)
    drawn = silhouettes(betas, pose).numpy() > 0  # machine code is made here
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        silhouettes(betas, pose)
        seconds.append(time.perf_counter() - start)
    posed = body(betas, pose)
    points = (posed.vertices - posed.joints[:, :1])[..., :2].numpy()
    whole = draw_silhouettes(points, body.faces.numpy().astype(np.int32), SILHOUETTE, FIELD_HALF_SIZE_M) > 0
    overlap = (drawn & whole).sum((1, 2)) / (drawn | whole).sum((1, 2))
    print("| silhouettes a second, one core | of the slowest run | overlap with the whole body | worst |")
    print("|---|---|---|---|")
    rates = f"{people / min(seconds):.0f} | {people / max(seconds):.0f}"
    print(f"| {rates} | {overlap.mean():.3f} | {overlap.min():.3f} |")


if __name__ == "__main__":
    tyro.cli(main)
