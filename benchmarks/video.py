"""Speed and memory of a 1080p video from file to overlay, with cliff-lite, and of each stage alone.

    python benchmarks/video.py [--people 1] [--frames 90]
    python benchmarks/video.py --hours 1

The clip is made from a person of the bundled photo, who sways over a plain ground. For each stage the
least time of a frame is printed, with one thread and nothing beside it; for the whole the wall time, and
the processor time of all threads, which other programs on the machine disturb less, and the most memory
used.

--hours measures the most memory alone, of a video so long: the clip is analysed, what was found is repeated
as often as fits, and finished and drawn.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fullframe.detect import load_detector
from fullframe.io.workdir import WorkDir, read_request
from fullframe.models import predict_people
from fullframe.recovery.frame_results import CHUNK, FrameResults, FrameStore
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.shots import ShotBoundaryDetector
from fullframe.recovery.tracker import Tracker
from fullframe.recovery.video import clip_camera, process
from fullframe.recovery.video_tracker import BATCH_SIZE
from fullframe.render import overlay
from fullframe.video.prefetch import limit_malloc_arenas
from fullframe.video.reader import VideoReader
from fullframe.video.writer import VideoWriter, to_yuv

PHOTO = Path(__file__).parents[1] / "src/fullframe/assets/demo/three_people.jpg"
WIDTH, HEIGHT, FPS = 1920, 1080, 30


def write_clip(path: Path, people: int, frames: int) -> None:
    """The clearest of the photo's people, as often as wanted, side by side and swaying."""
    with Image.open(PHOTO) as photo:
        image = np.asarray(photo.convert("RGB"))
    boxes, _ = load_detector().boxes(image)
    x0, y0, x1, y1 = boxes[0].astype(int)
    cutout = image[y0:y1, x0:x1]
    height = HEIGHT * 8 // 10 if people == 1 else HEIGHT * 6 // 10
    ground = cv2.resize(cv2.GaussianBlur(image, (0, 0), 40), (WIDTH, HEIGHT))
    with VideoWriter(path, (WIDTH, HEIGHT), FPS) as writer:
        for index in range(frames):
            picture = ground.copy()
            for person in range(people):
                width = min(round(height * cutout.shape[1] / cutout.shape[0]), int(0.9 * WIDTH / people))
                middle = WIDTH * (person + 0.5) / people + 12 * np.sin(index / 10 + person)
                x, y = int(middle - width / 2), HEIGHT - height - 20
                picture[y : y + height, max(x, 0) : max(x, 0) + width] = cv2.resize(cutout, (width, height))
            writer.write(picture, index / FPS)


def least(run: Callable[[], Any], repeats: int = 20) -> float:
    """The least wall time in ms."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def stages(recoverer: Recoverer, path: Path, people: int, folder: Path) -> None:
    """Print the least time of each stage."""
    with VideoReader(path) as reader:
        camera = clip_camera(reader)
        frames = iter(reader)
        frame = next(frames)
        reading = least(lambda: next(frames))
    image: NDArray[np.uint8] = frame.image
    detector, network = recoverer.detector, recoverer.network
    assert network is not None
    boxes, scores = detector.boxes(image)
    print(f"{len(boxes)} of {people} people found; ms a frame, least of 20, one thread:")
    print(f"  read and convert  {reading:6.1f}")
    print(f"  detect, at a look {least(lambda: detector.boxes(image)):6.1f}")
    finder, tracker = ShotBoundaryDetector(), Tracker(FPS)
    ticks = iter(range(1000))
    print(f"  detect cuts         {least(lambda: finder.is_cut(image)):6.1f}")
    print(
        f"  track             {least(lambda: tracker.update(next(ticks) / FPS, boxes, scores, image)):6.1f}"
    )
    batch = np.resize(boxes, (BATCH_SIZE, 4))
    each = least(lambda: predict_people(network, image, batch, camera, batch_size=BATCH_SIZE), 5) / BATCH_SIZE
    print(f"  crop and network  {each * len(boxes):6.1f}   ({each:.1f} a person, in batches of {BATCH_SIZE})")
    shown = recoverer(image, boxes=boxes, keypoints=np.zeros((len(boxes), 17, 3)))
    print(f"  draw              {least(lambda: overlay(image, shown)):6.1f}")
    print(f"  convert           {least(lambda: to_yuv(image)):6.1f}")
    with VideoWriter(folder / "stage.mp4", (WIDTH, HEIGHT), FPS) as writer, VideoReader(path) as reader:
        pictures = iter(reader)
        count = iter(range(1000))
        converted = [to_yuv(next(pictures).image) for _ in range(20)]
        start = time.perf_counter()
        for picture in converted:
            writer.write(picture, next(count) / FPS)
    print(f"  encode            {1000 * (time.perf_counter() - start) / 20:6.1f}   (mean)")


def lengthen(work: Path, hours: float) -> None:
    """Repeat the results of an analysed video in its WorkDir until it has so many hours."""
    with WorkDir(work, read_request(work)) as folder:
        store = FrameStore(folder)
        short = FrameResults.joined(store.load())
        frames = len(short.times)
        repeats = round(hours * 3600 * FPS / frames)
        folder.shards("frames", size=CHUNK).clear()
        for number in range(repeats):
            first = number * frames
            times, numbers = short.times + first / FPS, short.frames + first
            store.add(number, replace(short, times=times, frames=numbers))
        store.finish(repeats * frames, skipped=0)


def most_memory() -> float:
    """That this process has had, MB."""
    # In kB on Linux, in bytes on macOS.
    unit = 1 << 10 if os.uname().sysname == "Linux" else 1 << 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--hours", type=float, default=0)
    options = parser.parse_args()
    cores = torch.get_num_threads()
    limit_malloc_arenas()  # as the command does
    print(f"{WIDTH} x {HEIGHT}, {cores} threads, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = folder / "clip.mp4"
        # In a process of its own, whose memory does not count.
        preparing = multiprocessing.get_context("spawn").Process(
            target=write_clip, args=(clip, options.people, options.frames)
        )
        preparing.start()
        preparing.join()
        recoverer = Recoverer("cliff-lite")
        if options.hours:
            process(recoverer, clip, work=folder / "work")
            print(f"analysed, most memory: {most_memory():.0f} MB")
            lengthen(folder / "work", options.hours)
            result = process(recoverer, clip, overlay=folder / "overlay.mp4", work=folder / "work")
            print(f"{len(result.clip):,} rows finished, some drawn, most memory: {most_memory():.0f} MB")
            return
        for _ in range(options.repeats):
            wall, processor = time.perf_counter(), time.process_time()
            process(recoverer, clip, overlay=folder / "overlay.mp4")
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            each = processor / options.frames
            print(
                f"whole: {options.frames / wall:.1f} frames/s; {1000 * each:.0f} ms of processor time a "
                f"frame, so at most {cores / each:.1f} frames/s on {cores} idle cores"
            )
        print(f"most memory: {most_memory():.0f} MB")
        torch.set_num_threads(1)
        stages(recoverer, clip, options.people, folder)


if __name__ == "__main__":
    main()
