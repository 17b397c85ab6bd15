"""Speed and memory of the synthetic people: `python benchmarks/synth.py`.

Draws people with everything on, in one process and one thread, windows for crops of 224 x 168, and prints
crops a second and the process's memory; --sheet writes a contact sheet to look at.
"""

import resource
import time
from pathlib import Path

import cv2
import numpy as np
import tyro

from fullframe.synth.synthetic_people import SyntheticPeople


def main(
    people: int = 600, repeats: int = 3, backgrounds: Path | None = None, sheet: Path | None = None
) -> None:
    cv2.setNumThreads(1)
    source = SyntheticPeople(height=224, backgrounds=backgrounds)
    # Everything that is made at first use: machine code, outfits, places.
    samples = [source[index] for index in range(people)]
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for index in range(people):
            source[index]
        seconds.append((time.perf_counter() - start) / people)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("| crops a second, one core | of the slowest run | memory at most, GB |")
    print("|---|---|---|")
    print(f"| {1 / min(seconds):.0f} | {1 / max(seconds):.0f} | {memory:.2f} |")
    if sheet:
        pictures = [sample.image for sample in samples[:60]]
        rows = [np.hstack(pictures[row * 12 : row * 12 + 12]) for row in range(5)]
        cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    tyro.cli(main)
