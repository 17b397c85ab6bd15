"""Load test of `fullframe serve`: `python benchmarks/serve.py [PHOTO ...]`.

Starts the service on this computer, sends photos from several clients at once, each as soon as its last one
is answered, and compares the throughput with that of `fullframe run` on the same photos. Prints failures, the
time of an answer, and the memory of the service after each quarter of the photos (Linux).
"""

import http.client
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from fullframe.assets import DEMO
from fullframe.io.image import PHOTO_SUFFIXES

SIDE = 1600
"""Photos have at most this many pixels a side, as those of chats and feeds."""


def main(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = (DEMO / "three_people.jpg",),
    count: int = 200,
    clients: int = 8,
    output: str = "json",
) -> None:
    """Run both and print the numbers.

    Args:
        photos: files and folders; repeated up to `count`.
        count: photos to send.
        clients: at a time.
        output: json, glb or overlay.
    """
    found = [file for path in photos for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    found = [file for file in found if file.suffix.lower() in PHOTO_SUFFIXES]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number:03d}.jpg" for number in range(count)]
        for file, source in zip(files, np.resize(np.array(found, object), count), strict=True):
            with Image.open(source) as image:
                image.thumbnail((SIDE, SIDE))
                image.convert("RGB").save(file, quality=92)
        served = serve(files, clients, output)
        ran = run(files, Path(folder) / "out", output)
    print(f"run: {ran:.2f} photos/s; serve / run: {served / ran:.2f}")


def serve(files: list[Path], clients: int, output: str) -> float:
    """Photos answered each second, by several clients."""
    command = [sys.executable, "-m", "fullframe", "serve", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "listening at" in line)
        port = int(line.split("http://127.0.0.1:")[1].split(";")[0])
        threading.Thread(target=process.stderr.read, daemon=True).start()
        send(port, files[0], output)  # compiles and loads what is needed first
        waiting, lock = list(enumerate(files)), threading.Lock()
        seconds, failures, memory = [], [], [resident(process.pid)]

        def client() -> None:
            while True:
                with lock:
                    if not waiting:
                        return
                    number, file = waiting.pop(0)
                    if number and number % max(1, len(files) // 4) == 0:
                        memory.append(resident(process.pid))
                start = time.perf_counter()
                status = send(port, file, output)
                with lock:
                    seconds.append(time.perf_counter() - start)
                    if status != 200:
                        failures.append((file.name, status))

        threads = [threading.Thread(target=client) for _ in range(clients)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - start
        memory.append(resident(process.pid))
    finally:
        process.terminate()
        process.wait(60)
    median, worst = np.percentile(seconds, (50, 100))
    print(f"serve: {len(files)} photos from {clients} clients, {len(failures)} failures {failures[:5]}")
    print(f"serve: {len(files) / elapsed:.2f} photos/s, answers after {median:.2f} s (worst {worst:.2f} s)")
    print(f"serve: memory after each quarter, MB: {', '.join(f'{size:.0f}' for size in memory)}")
    return len(files) / elapsed


def send(port: int, file: Path, output: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", f"/photos?output={output}", file.read_bytes())
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def run(files: list[Path], out: Path, output: str) -> float:
    """Photos each second in `fullframe run`, without the time of one photo, in which everything is loaded."""
    times = []
    for some in (files[:1], files):
        start = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "fullframe",
            "run",
            *map(str, some),
            "-o",
            str(out),
            "--save",
            output,
        ]
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return (len(files) - 1) / (times[1] - times[0])


def resident(process: int) -> float:
    """Memory of a process in MB; NaN where there is no /proc."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return float("nan")
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


if __name__ == "__main__":
    tyro.cli(main)
