"""Time of one photo of one person with everything loaded, and of its steps.

    python benchmarks/photo.py [--busy 2]

The photo is the first of `fullframe evaluate gestures`, 540 x 960 px. Printed are the median and the least
wall time in ms over two seconds of each. --busy runs so many processes beside it that keep a core busy each.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from typing import Any

from body import milliseconds

from fullframe.assets import GESTURES
from fullframe.io.image import read_photo
from fullframe.models import predict_people
from fullframe.recovery.photo import Recoverer

SECONDS = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    path = min(GESTURES.glob("*.jpg"))
    photo = read_photo(path)
    image, camera = photo.pixels, photo.camera
    recoverer = Recoverer()
    people = recoverer(path)
    detector, network, fitter = recoverer.detector, recoverer.network, recoverer.fitter
    assert network is not None and fitter is not None
    bodies = predict_people(network, image, people.boxes, camera)
    steps: dict[str, Callable[[], Any]] = {
        "whole": lambda: recoverer(path),
        "boxes": lambda: detector.boxes(image),
        "keypoints": lambda: detector.keypoints(image, people.boxes),
        "network": lambda: predict_people(network, image, people.boxes, camera),
        "fit": lambda: fitter.fit(people.keypoints, people.boxes, camera, start=bodies),
    }
    busy = [multiprocessing.Process(target=keep_busy, daemon=True) for _ in range(options.busy)]
    for process in busy:
        process.start()
    print(f"{path.name}, {len(people)} person, {options.busy} busy processes; ms, median (least)")
    for name, step in steps.items():
        median, least = milliseconds(step, SECONDS)
        print(f"{name:10} {median:5.0f} ({least:.0f})", flush=True)
    for process in busy:
        process.terminate()


def keep_busy() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
