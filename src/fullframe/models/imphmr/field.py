"""A neural feature field: what is at a point of space, conditioned on a code of the person.

ImpHMR (Cho et al., CVPR 2023) states that a neural feature field is conditioned on the image's feature. Its
layers are not published with it: the network is that of GIRAFFE's decoder (Niemeyer and Geiger, CVPR 2021),
without its viewing direction, so that a place has the same feature from everywhere.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

OCTAVES = 6
"""Wavelengths of the positional encoding: 4, 2, 1, ... 1/8; a map of 16 px has 1/4 at best."""

LAYERS, SKIP = 7, 3
"""Hidden layers after the first, and the one after which place and code are added again (GIRAFFE)."""


class Field(nn.Module):
    """Density and feature at points of the cube [-1, 1]^3, for the people of a batch.

    The feature's last layer is linear, and so is rendering: `forward` gives what goes into that layer, and
    `project_features` applies it once to the rendered sum instead of at every point.

    Args:
        code: width of the code.
        width: of every layer and of the feature.
    """

    def __init__(self, code: int, width: int) -> None:
        super().__init__()
        self.place, self.place_again = nn.Linear(6 * OCTAVES, width), nn.Linear(6 * OCTAVES, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(LAYERS))
        self.density = nn.Linear(width, 1)
        self.feature, self.last = nn.Linear(width, width), nn.Linear(width, width)
        self.person, self.person_again, self.person_feature = (
            nn.Linear(code, width, bias=False) for _ in range(3)
        )
        for layer in (self.place, self.person, *self.layers, self.feature):
            # torch's default would halve the signal at each of nine layers.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, points: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """What is at points.

        Args:
            points: (N, P, 3), or (1, P, 3) for the same points for everyone.
            code: (N, C) one a person.

        Returns:
            density (N, P), not negative, per unit of length; and (N, P, width) for `project_features`.
        """
        where = positional_encoding(points)
        x = functional.relu(self.place(where) + self.person(code)[:, None])
        for number, layer in enumerate(self.layers):
            x = functional.relu(layer(x), inplace=True)
            if number == SKIP:
                x = x + self.place_again(where) + self.person_again(code)[:, None]
        # GIRAFFE has relu here, whose density could become 0 everywhere and stay so.
        density = functional.softplus(self.density(x))[..., 0]
        return density, functional.relu(self.feature(x) + self.person_feature(code)[:, None])

    def project_features(self, rendered: Tensor, opacity: Tensor) -> Tensor:
        """Features (..., width) of sums (..., width) over points whose weights sum to `opacity` (...)."""
        return rendered @ self.last.weight.mT + opacity[..., None] * self.last.bias


def positional_encoding(points: Tensor) -> Tensor:
    """Sines and cosines of coordinates (..., 3) in [-1, 1]: (..., 6 OCTAVES) (as in NeRF and GIRAFFE).

    Of (2^i pi / 2) x for i from 0, of which the first is different at all places.
    """
    scales = [math.pi / 2 * 2**i for i in range(OCTAVES)]
    angles = torch.cat([points * scale for scale in scales], dim=-1)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
