"""Volume rendering of a feature field from a direction around the person.

Frames: the canonical frame has the camera's axes (x right, y down, z forward) and its origin in the middle of
the person; a length of 1 is FIELD_HALF_SIZE_M. The viewing direction phi is an angle in radians about the y
axis: the camera that looks along it stands at R_y(phi) (0, 0, -1) and its axes are the columns of R_y(phi).
At phi = 0 that is the image's own camera; growing phi goes clockwise around the person as seen from above
(from in front of them to the image's left, behind them, to its right), as in ImpHMR's figure 7. So a body
seen from phi looks like the body rotated by R_y(-phi) seen from 0.

ImpHMR (Cho et al., CVPR 2023) states volume rendering of a 2D feature map in a direction phi about the
person. Our choices: parallel rays, which suit the weak perspective of HMR's camera; and a field that fills an
upright cylinder of radius 1 from y = -1 to 1, which looks the same from all directions.
"""

import torch
from torch import Tensor

from fullframe.models.imphmr.field import Field

_AT_ONCE = 16_384
"""Points whose layers a processor can keep in its cache."""

FIELD_HALF_SIZE_M = 1.25
"""Metres from the middle of the cylinder to its rim: what an adult with raised arms needs."""


def rotation_y(phi: Tensor) -> Tensor:
    """R_y(phi) of angles (N,) radians, from the frame of a camera at phi to the canonical one: (N, 3, 3)."""
    cos, sin = phi.cos(), phi.sin()
    zero, one = torch.zeros_like(phi), torch.ones_like(phi)
    return torch.stack((cos, zero, sin, zero, one, zero, -sin, zero, cos), dim=-1).unflatten(-1, (3, 3))


def rotate_root(pose: Tensor, phi: Tensor) -> Tensor:
    """Poses (N, 24, 3, 3) as cameras see them that went around the people by phi (N,) radians."""
    return torch.cat((rotation_y(phi).mT[:, None] @ pose[:, :1], pose[:, 1:]), dim=1)


def sample_rays(size: int, samples: int) -> tuple[Tensor, Tensor]:
    """Where the rays of a map are sampled: each in the middle of equal parts of its way through the cylinder.

    Args:
        size: height and width of the map in px; it spans [-1, 1] in x and y.
        samples: parts of a ray.

    Returns:
        points (size, size, samples, 3) by row (y), column (x) and depth, near ones first, in the frame of the
        camera that looks along the rays; and the parts' length (size,) by column.
    """
    centre = (torch.arange(size) + 0.5) * (2 / size) - 1
    depth = (torch.arange(samples) + 0.5) * (2 / samples) - 1
    reach = (1 - centre.square()).sqrt()  # of the cylinder, in front of and behind the column
    y, x, _ = torch.meshgrid(centre, centre, depth, indexing="ij")
    z = (reach[:, None] * depth).expand(size, size, samples)
    return torch.stack((x, y, z), dim=-1), 2 * reach / samples


def render(
    field: Field, code: Tensor, points: Tensor, lengths: Tensor, phi: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The feature maps of people's fields.

    Emission and absorption as in NeRF (Mildenhall et al., ECCV 2020, eq. 3): a part of length d and density s
    lets exp(-s d) through, and shows its feature by 1 minus that times what the parts before it let through.
    What lies behind everyone is 0.

    Args:
        field: of density and features.
        code: (N, C) of the people.
        points: (S, S, K, 3) and
        lengths: (S,) from `sample_rays`.
        phi: (N,) radians from where each is seen; None for 0.

    Returns:
        maps (N, width, S, S), and how much of each ray was stopped (N, S, S), from 0 to 1.
    """
    size, _, samples, _ = points.shape
    people = max(_AT_ONCE // (size * size * samples), 1)
    # A network that is exported takes any number of people.
    if code.device.type == "cpu" and not torch.compiler.is_compiling() and len(code) > people:
        views = [None] * len(code) if phi is None else phi.split(people)
        parts = [
            render(field, some, points, lengths, view)
            for some, view in zip(code.split(people), views, strict=False)
        ]
        maps, opacities = zip(*parts, strict=True)
        return torch.cat(maps), torch.cat(opacities)
    places = points.reshape(1, -1, 3)
    if phi is not None:
        # Not as a matrix product, which mixed precision would round.
        places = (rotation_y(phi)[:, None] * places[:, :, None]).sum(-1)
    density, hidden = field(places, code)
    weights, opacity = composite(density.view(-1, size, size, samples), lengths[:, None])
    rendered = weights.view(-1, 1, samples) @ hidden.view(-1, samples, hidden.shape[-1])
    features = field.project_features(rendered.view(-1, size, size, hidden.shape[-1]), opacity)
    return features.permute(0, 3, 1, 2), opacity


def composite(density: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The share that each part of a ray has in what is seen, and their sum.

    Args:
        density: (..., K) from near to far.
        lengths: of the parts, broadcastable to (..., K).

    Returns:
        (..., K) and (...).
    """
    depth = (density * lengths).cumsum(-1)
    passed = torch.cat((torch.ones_like(depth[..., :1]), (-depth).exp()), dim=-1)
    return passed[..., :-1] - passed[..., 1:], 1 - passed[..., -1]
