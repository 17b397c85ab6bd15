"""Time of `fullframe run --ray` over the number of photos and workers: `python benchmarks/many_photos.py`.

Needs the extra scale. Each worker has one thread. The photos are copies of one, of at most 1600 px a side.
Prints a table of seconds, from the start of the command to its end, and what each further photo takes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from fullframe.assets import DEMO
from fullframe.evaluate.report import markdown_table

_COMMAND = """
import logging, sys, ray
ray.init(address="local", num_cpus=int(sys.argv.pop(1)), include_dashboard=False, log_to_driver=False,
         logging_level=logging.ERROR)
from fullframe.cli.main import main
main()
"""


def main(
    photo: Path = DEMO / "three_people.jpg",
    counts: tuple[int, ...] = (100, 200, 400),
    workers: tuple[int, ...] = (1, 2),
) -> None:
    """Print the table.

    Args:
        photo: that all photos are copies of.
        counts: numbers of photos.
        workers: numbers of workers.
    """
    table = [["photos", *(f"{number} worker{'s' * (number > 1)}, s" for number in workers), "ratio"]]
    times = np.zeros((len(counts), len(workers)))
    for row, count in enumerate(counts):
        for column, number in enumerate(workers):
            times[row, column] = seconds(photo, count, number)
        ratio = times[row, 0] / times[row, -1]
        table.append([str(count), *(f"{value:.0f}" for value in times[row]), f"{ratio:.2f}"])
        print(" | ".join(table[-1]), flush=True)
    print(f"\n{markdown_table(table)}")
    if len(counts) > 1:
        for number, values in zip(workers, times.T, strict=True):
            each, start = np.polyfit(counts, values, 1)
            print(f"{number} worker(s): {start:.1f} s + {each:.3f} s a photo")


def seconds(photo: Path, count: int, workers: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        with Image.open(photo) as image:
            image.thumbnail((1600, 1600))
            image.convert("RGB").save(folder / "0.jpg", quality=92)
        content = (folder / "0.jpg").read_bytes()
        for number in range(1, count):
            (folder / f"{number}.jpg").write_bytes(content)
        arguments = ["run", str(folder), "-o", str(Path(name) / "out"), "--save", "json", "--ray", "local"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", _COMMAND, str(workers), *arguments],
            check=True, capture_output=True, env=environment,
        )  # fmt: skip
        return time.perf_counter() - start


if __name__ == "__main__":
    tyro.cli(main)
