"""Speed of the overlay: rasterising, shading and blending bodies into a 1920 x 1080 photo, after warm-up.

    python benchmarks/render.py

Prints the minimum and the median over the repeats, in ms, with one and with two threads. One person is 80 %
of the frame high; ten are 40 % each, side by side. Besides the overlay it times the side view, the bird's-eye
view and the contact sheet of the ten.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch

from fullframe.body import load_body
from fullframe.geometry.camera import Camera
from fullframe.render import birds_eye, sheet, side_view
from fullframe.render.colors import person_colors
from fullframe.render.mesh_shading import draw_meshes
from fullframe.results.people import People

SIZE = (1920, 1080)


def crowd(number: int, height: float) -> People:
    """People in relaxed poses whose bodies fill `height` of the frame; the same at every call."""
    rng = np.random.default_rng(number)
    body = load_body()
    camera = Camera.from_diagonal(SIZE)
    axis_angle = rng.normal(0, 0.15, (number, 24, 3))
    axis_angle[:, 16:18, 2] += (-1.1, 1.1)  # arms down
    axis_angle[:, 0] = 0
    pose = torch.matrix_exp(_skew(torch.tensor(axis_angle, dtype=torch.float32)))
    turn = torch.zeros(number, 3)
    turn[:, 1] = torch.tensor(rng.uniform(-np.pi, np.pi, number), dtype=torch.float32)
    pose[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ torch.matrix_exp(_skew(turn))
    betas = torch.tensor(rng.normal(0, 1, (number, body.num_betas)), dtype=torch.float32)
    with torch.no_grad():
        vertices, joints = (t.numpy() for t in body(betas, pose))
    stature = np.ptp(vertices[..., 1], axis=1)
    z = camera.focal[1] * stature / (height * SIZE[1])
    x = ((np.arange(number) + 0.5) / number - 0.5) * SIZE[0] / camera.focal[0] * z
    middle = (vertices[..., 1].max(axis=1) + vertices[..., 1].min(axis=1)) / 2
    translation = np.stack((x, -middle, z), axis=1)[:, None]
    return People(
        boxes=np.zeros((number, 4)),
        scores=np.ones(number),
        track_ids=np.arange(number),
        keypoints=np.zeros((number, 17, 3)),
        pose=pose.numpy(),
        betas=betas.numpy(),
        translation=translation[:, 0],
        vertices=vertices + translation,
        joints=joints + translation,
        faces=body.faces.numpy(),
        camera=camera,
        body=body.name,
        model="benchmark",
    )


def _skew(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=-1).reshape(*v.shape[:-1], 3, 3)


def timed(run: Callable[[], object], repeats: int) -> str:
    """Minimum and median of the wall time in ms."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return f"min {min(times):6.1f}   median {np.median(times):6.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    repeats = parser.parse_args().repeats
    photo = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    print(f"{SIZE[0]} x {SIZE[1]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for number, height in ((1, 0.8), (10, 0.4)):
        people = crowd(number, height)
        colors = person_colors(people.track_ids)
        scene = (people.vertices, people.faces, colors, people.camera.intrinsics, 0.85)
        for threads in (1, 2):
            result = timed(lambda s=scene, t=threads: draw_meshes(photo, *s, t), repeats)  # type: ignore[misc]
            print(f"overlay, {number:2d} x {len(people.faces)} faces, {threads} thread(s): {result}")
    for view in (side_view, birds_eye):
        print(f"{view.__name__}, 960 x 640, 10 people: {timed(lambda v=view: v(people, (960, 640)), 10)}")  # type: ignore[misc]
    print(f"sheet, 10 people: {timed(lambda: sheet(photo, people), 10)}")


if __name__ == "__main__":
    main()
