"""Speed of the body model on one thread: forward, and forward + backward, in milliseconds.

    python benchmarks/body.py                      # the open body
    python benchmarks/body.py SMPL_NEUTRAL.pkl     # and SMPL, beside the smplx package if it is installed

`plain` is linear blend skinning as it is usually written, run here and now, since machines differ. On the
machine of the project's first measurements it took, forward (forward + backward): batch 1 0.9 (3.1), batch 16
7.2 (21), batch 64 27 (74).
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from fullframe.body import BodyModel, load_body
from fullframe.body.joint_sets import PARENTS

BATCHES = (1, 16, 64)


class Plain:
    """Linear blend skinning as it is usually written: a loop over the joints and a matrix for each vertex."""

    def __init__(self, body: BodyModel):
        data = body.data
        self.template = torch.from_numpy(data.template)
        self.shape_dirs = torch.from_numpy(data.shape_dirs[..., : body.num_betas].copy())
        self.pose_dirs = torch.from_numpy(data.pose_dirs.reshape(-1, 207).T.copy())
        self.weights = torch.from_numpy(data.weights)
        self.regressor = torch.from_numpy(data.joint_regressor)

    def __call__(self, betas: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        shaped = self.template + torch.einsum("nb,vcb->nvc", betas, self.shape_dirs)
        rest = torch.einsum("jv,nvc->njc", self.regressor, shaped)
        feature = (pose[:, 1:] - torch.eye(3)).flatten(1)
        posed = shaped + (feature @ self.pose_dirs).view_as(shaped)
        rotations, joints = [pose[:, 0]], [rest[:, 0]]
        for joint in range(1, 24):
            parent = PARENTS[joint]
            rotations.append(rotations[parent] @ pose[:, joint])
            bone = (rest[:, joint] - rest[:, parent])[..., None]
            joints.append(joints[parent] + (rotations[parent] @ bone)[..., 0])
        rotation, position = torch.stack(rotations, 1), torch.stack(joints, 1)
        offset = position - (rotation @ rest[..., None])[..., 0]
        transforms = torch.cat((rotation, offset[..., None]), -1).flatten(2)
        blended = (self.weights @ transforms).unflatten(2, (3, 4))
        return (blended[..., :3] @ posed[..., None])[..., 0] + blended[..., 3], position


def milliseconds(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Median and smallest time of as many runs as fit."""
    for _ in range(3):
        run()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    times.sort()
    return times[len(times) // 2], times[0]


def report(name: str, model: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], num_betas: int) -> None:
    for batch in BATCHES:
        generator = torch.Generator().manual_seed(0)
        betas = torch.randn(batch, num_betas, generator=generator)
        pose = torch.linalg.qr(torch.randn(batch, 24, 3, 3, generator=generator)).Q
        with torch.no_grad():
            forward = milliseconds(lambda betas=betas, pose=pose: model(betas, pose), 2)
        betas.requires_grad_()
        pose.requires_grad_()
        ones = torch.ones_like(model(betas, pose)[0])

        def both(betas=betas, pose=pose, ones=ones) -> object:
            return torch.autograd.grad(model(betas, pose)[0], (betas, pose), ones)

        backward = milliseconds(both, 3)
        print(
            f"{name:>10} | batch {batch:2} | forward {forward[0]:6.2f} (least {forward[1]:6.2f}) | "
            f"forward + backward {backward[0]:6.2f} (least {backward[1]:6.2f})"
        )


def smplx_forward(path: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """The smplx package on the same file; it is not a dependency, its licence being non-commercial."""
    try:
        import smplx
    except ImportError:
        print("the smplx package is not installed: skipped")
        return None
    model = smplx.SMPL(path)

    def forward(betas: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        out = model(betas=betas, global_orient=pose[:, :1], body_pose=pose[:, 1:], pose2rot=False)
        return out.vertices, out.joints

    return forward


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("smpl", nargs="?", help="your SMPL file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bodies = [load_body()] + ([load_body("smpl", args.smpl)] if args.smpl else [])
    for body in bodies:
        report(body.name, body, body.num_betas)
        report("plain", Plain(body), body.num_betas)
    if args.smpl and (forward := smplx_forward(args.smpl)) is not None:
        report("smplx", forward, bodies[-1].num_betas)


if __name__ == "__main__":
    main()
