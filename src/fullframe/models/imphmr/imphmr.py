"""ImpHMR (Cho et al., "Implicit 3D Human Mesh Recovery using Consistency with Pose and Shape from
Unseen-view", CVPR 2023): a network that imagines the person from other directions.

Stated by the paper's poster and abstract: the image's feature conditions a neural feature field; volume
rendering in a viewing direction phi gives a 2D feature map, from which the regressor infers pose and shape as
seen from phi, and a second branch the silhouette; phi = 0 is the image's direction, the only one at
inference; training draws phi at random and holds what is inferred there to the truth turned by -phi, or where
only 2D labels are known to the other views (losses.py).

Not stated, and our choice: the axis and sense of phi, field and renderer (volume.py, field.py), one regressor
for all directions, the layers between map and regressor and of the silhouette branch, all normalisation, and
CLIFF's two switches, which neither paper has. The option `feature_gate` is ours: for the image's direction
the regressor sees the encoder's feature too, so that an untrained field leaves HMR as it was.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fullframe.models.crop_regressor import CropRegressor, Prediction
from fullframe.models.imphmr.field import Field
from fullframe.models.imphmr.volume import render, sample_rays
from fullframe.models.iterative_regressor import WIDTH, IterativeRegressor

CODE = 256
"""Width of the code that conditions the field (GIRAFFE's)."""

SIZES = (8, 16, 32, 64)
SILHOUETTE = 64
"""Height and width of silhouettes in px."""

_LAST = 4  # px of the map that the regressor sees
_GROUPS = 8


class NovelViewPrediction(NamedTuple):
    """N people seen from directions phi.

    Attributes:
        phi: (N,) radians, see models.imphmr.volume.
        prediction: as of the image taken from phi: the root's rotation is in that camera's frame. Its weak
            camera means nothing except at phi = 0.
        silhouette: (N, 64, 64) logits; the map spans 2 FIELD_HALF_SIZE_M around the pelvis. None for a
            network without novel views.
    """

    phi: Tensor
    prediction: Prediction
    silhouette: Tensor | None


class ImpHMROutput(NamedTuple):
    """ImpHMR's output in training.

    Attributes:
        prediction, heatmaps: see models.crop_regressor.TrainOutput.
        novel_view: the same people seen from one random direction each; None if `view_range` is 0.
    """

    prediction: Prediction
    heatmaps: Tensor | None = None
    novel_view: NovelViewPrediction | None = None


class ImpHMR(CropRegressor):
    """ImpHMR, with CLIFF's switches off as in the paper.

    With `bbox_info_input` the bounding-box info is a part of the field's code and not seen by the regressor:
    the field then stands in the axes of the full frame's camera, and one regressor serves all directions.

    Args:
        encoder, crop, bbox_info_input, full_frame_loss, bbox_norm, num_betas, regressor_act,
            regressor_width, regressor_dropout, pool, pretrained: as for CLIFF.
        feature_gate: our addition, not the paper's. For the image's direction the regressor's input is the
            encoder's features (and bounding-box info) beside the map's, which are multiplied by a gate that
            starts at zero: the network starts as HMR, or CLIFF. For other directions it is the map's alone.
        field_size: height and width of the rendered feature map in px.
        field_samples: points per ray.
        field_width: of the field's layers and features, a multiple of 8.
        view_range: training draws phi from -view_range to view_range degrees; 0 for the field without
            imagination.

    Raises:
        ValueError: for an impossible value.
    """

    name = "imphmr"

    points: Tensor
    lengths: Tensor

    def __init__(
        self,
        encoder: str = "resnet50",
        crop: tuple[int, int] = (256, 192),
        *,
        bbox_info_input: bool = False,
        full_frame_loss: bool = False,
        bbox_norm: str = "plain",
        num_betas: int = 10,
        regressor_width: int = WIDTH,
        regressor_act: str = "none",
        regressor_dropout: float = 0.5,
        pool: str = "mean",
        field_size: int = 16,
        field_samples: int = 24,
        field_width: int = 128,
        view_range: float = 180.0,
        feature_gate: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__(
            encoder,
            crop,
            bbox_info_input=bbox_info_input,
            full_frame_loss=full_frame_loss,
            bbox_norm=bbox_norm,
            num_betas=num_betas,
            regressor_width=regressor_width,
            regressor_act=regressor_act,
            regressor_dropout=regressor_dropout,
            pool=pool,
            pretrained=pretrained,
        )
        if field_size not in SIZES:
            raise ValueError(f"field_size must be one of {', '.join(map(str, SIZES))}, not {field_size}")
        if field_samples < 1:
            raise ValueError(f"field_samples must be positive, not {field_samples}")
        if field_width < _GROUPS or field_width % _GROUPS:
            raise ValueError(f"field_width must be a multiple of {_GROUPS}, not {field_width}")
        if not 0 <= view_range <= 180:
            raise ValueError(f"view_range must lie between 0 and 180 degrees, not {view_range}")
        self.field_size, self.field_samples, self.field_width = field_size, field_samples, field_width
        self.view_range = view_range
        self.feature_gate = feature_gate
        self.map_features = _LAST**2 * field_width
        seen = self.input_width if feature_gate else 0
        self.regressor = IterativeRegressor(
            seen + self.map_features, num_betas, regressor_width, regressor_act, regressor_dropout
        )
        self.gate = nn.Parameter(torch.zeros(self.map_features)) if feature_gate else None
        self.to_code = nn.Linear(self.input_width, CODE)
        self.field = Field(CODE, field_width)
        points, lengths = sample_rays(field_size, field_samples)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("lengths", lengths, persistent=False)
        self.head = _head(field_size, field_width)
        self.silhouette = _silhouette_branch(field_size, field_width) if view_range else None

    def forward(self, crop: Tensor, bbox_info: Tensor) -> Prediction:
        """Bodies from crops, seen as the image's camera does; arguments as for CropRegressor."""
        inputs, _ = self._inputs(crop, bbox_info)
        return self._canonical(inputs, self._code(inputs))

    def imagine(self, crop: Tensor, bbox_info: Tensor, phi: Tensor) -> NovelViewPrediction:
        """Bodies and silhouettes inferred in other directions.

        Args:
            crop, bbox_info: (N, ...) as for `forward`.
            phi: (N,) radians, see models.imphmr.volume.
        """
        inputs, _ = self._inputs(crop, bbox_info)
        return self._imagine(self._code(inputs), phi)

    def forward_train(self, crop: Tensor, bbox_info: Tensor) -> ImpHMROutput:
        """The prediction, and another for one random direction per person."""
        inputs, heatmaps = self._inputs(crop, bbox_info)
        code = self._code(inputs)
        prediction = self._canonical(inputs, code)
        if not self.view_range:
            return ImpHMROutput(prediction, heatmaps)
        limit = math.radians(self.view_range)
        phi = (2 * torch.rand(len(code), device=code.device, dtype=bbox_info.dtype) - 1) * limit
        return ImpHMROutput(prediction, heatmaps, self._imagine(code, phi))

    @torch.no_grad()
    def start_from(self, network: CropRegressor) -> None:
        """Copy the encoder and the regressor of a network without a field, except what sees the map.

        Args:
            network: HMR or CLIFF with the same encoder, bounding-box info and regressor's sizes.
        """
        self.encoder.load_state_dict(network.encoder.state_dict())
        own, other = self.regressor.fc1.weight, network.regressor.fc1.weight
        state = other.shape[1] - network.input_width  # the estimate so far
        layers = network.regressor.state_dict()
        layers["fc1.weight"] = torch.cat((own[:, :-state], other[:, -state:]), dim=1)
        if self.feature_gate:
            layers["fc1.weight"][:, : self.input_width] = other[:, : self.input_width]
        self.regressor.load_state_dict(layers)

    @property
    def map_columns(self) -> slice:
        """The inputs of the regressor that come from the map."""
        start = self.input_width if self.feature_gate else 0
        return slice(start, start + self.map_features)

    def render_features(self, inputs: Tensor) -> Tensor:
        """What the regressor sees of the map in the image's direction (N, map_features).

        Args:
            inputs: (N, input_width) from `assemble_input`.
        """
        return self.head(self._maps(self._code(inputs), None))

    def _inputs(self, crop: Tensor, bbox_info: Tensor) -> tuple[Tensor, Tensor | None]:
        """The encoder's features with the bounding-box info (N, input_width), and its heatmaps."""
        features, heatmaps = self.encoder(crop)
        return self.assemble_input(features, bbox_info), heatmaps

    def _code(self, inputs: Tensor) -> Tensor:
        """The code (N, CODE) that conditions the field."""
        # Encoders' features differ in size by orders of magnitude; the field's first layers expect about 1.
        return functional.layer_norm(self.to_code(inputs), (CODE,))

    def _maps(self, code: Tensor, phi: Tensor | None) -> Tensor:
        return render(self.field, code, self.points, self.lengths, phi)[0]

    def _canonical(self, inputs: Tensor, code: Tensor) -> Prediction:
        """Bodies as the image's camera sees them."""
        seen = self.head(self._maps(code, None))
        return self.run_regressor(seen if self.gate is None else torch.cat((inputs, self.gate * seen), dim=1))

    def _imagine(self, code: Tensor, phi: Tensor) -> NovelViewPrediction:
        maps = self._maps(code, phi)
        seen = self.head(maps)
        if self.gate is not None:
            seen = functional.pad(seen, (self.input_width, 0))
        silhouette = None if self.silhouette is None else self.silhouette(maps)[:, 0]
        return NovelViewPrediction(phi, self.run_regressor(seen), silhouette)


class _Norm(nn.GroupNorm):
    """In its weights' precision, as in CUDA's autocast; on a CPU half precision takes five times as long."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight)).to(x)


def _head(size: int, width: int) -> nn.Module:
    """From a map to the regressor's features: 4 x 4 px, side by side, so that positions are kept."""
    layers: list[nn.Module] = []
    while size > _LAST:
        layers += [nn.Conv2d(width, width, 3, 2, 1), _Norm(_GROUPS, width), nn.ReLU()]
        size //= 2
    return nn.Sequential(*layers, nn.Flatten())


def _silhouette_branch(size: int, width: int) -> nn.Module:
    """From a map (N, width, size, size) to logits (N, 1, 64, 64)."""
    layers: list[nn.Module] = []
    while size < SILHOUETTE:
        narrower = max(width // 2 // _GROUPS * _GROUPS, _GROUPS)
        layers += [nn.ConvTranspose2d(width, narrower, 4, 2, 1), _Norm(_GROUPS, narrower), nn.ReLU()]
        size, width = 2 * size, narrower
    last = nn.Conv2d(width, 1, 1)
    assert last.bias is not None
    nn.init.constant_(last.bias, -2.0)  # people fill about a tenth of the picture
    return nn.Sequential(*layers, last)
