"""Time of `fullframe run --ray` over the number of photos and workers: `python benchmarks/many_photos.py`.

Needs the extra scale. Each worker has one thread. The photos are copies of one, of at most 1600 px a side.
Prints a table of seconds, from the start of the command to its end, with the CPU time of all its processes
(Linux), and what each further photo takes. Other programs on the computer change the latter less.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
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
    names = (f"{number} worker{'s' * (number > 1)}, s (CPU time)" for number in workers)
    table = [["photos", *names, "ratio"]]
    times = np.zeros((len(counts), len(workers), 2))
    for row, count in enumerate(counts):
        for column, number in enumerate(workers):
            times[row, column] = seconds(photo, count, number)
        ratio = times[row, 0, 0] / times[row, -1, 0]
        table.append([str(count), *(f"{wall:.0f} ({cpu:.0f})" for wall, cpu in times[row]), f"{ratio:.2f}"])
        print(" | ".join(table[-1]), flush=True)
    print(f"\n{markdown_table(table)}")
    if len(counts) > 1:
        for column, number in enumerate(workers):
            (wall, cpu), (start, cpu_start) = np.polyfit(counts, times[:, column], 1)
            print(
                f"{number} worker(s): {start:.1f} s + {wall:.3f} s a photo; "
                f"CPU time {cpu_start:.1f} s + {cpu:.3f} s a photo"
            )


def seconds(photo: Path, count: int, workers: int) -> tuple[float, float]:
    """From start to end, and of CPU time."""
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
        command = [sys.executable, "-c", _COMMAND, str(workers), *arguments]
        start, used = time.perf_counter(), dict[tuple[int, int], float]()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )
        watching = threading.Thread(target=watch, args=(process, used), daemon=True)
        watching.start()
        _, errors = process.communicate()
        taken = time.perf_counter() - start
        watching.join()
        if process.returncode:
            raise SystemExit(errors.decode(errors="replace"))
        return taken, sum(used.values()) or float("nan")


def watch(process: subprocess.Popen, used: dict[tuple[int, int], float]) -> None:
    """Collect the CPU time of a process and of all that it started, by id and start time, until it ends.

    Ray ends its processes without waiting for them, so that getrusage does not know of theirs.
    """
    tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    while process.poll() is None:
        found = dict(processes())
        family = {process.pid}
        while more := {pid for pid, (parent, *_) in found.items() if parent in family} - family:
            family |= more
        for pid in family & found.keys():
            _, began, ticks = found[pid]
            used[pid, began] = ticks / tick
        time.sleep(0.1)


def processes() -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Parent, start time and ticks of CPU time of all processes, by id; none where there is no /proc."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            # The name before, in brackets, may have spaces.
            values = file.read_text(errors="replace").rpartition(")")[2].split()
            yield int(file.parent.name), (int(values[1]), int(values[19]), int(values[11]) + int(values[12]))


if __name__ == "__main__":
    tyro.cli(main)
