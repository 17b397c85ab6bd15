"""HMR (Kanazawa et al., CVPR 2018) in the form that CLIFF is compared with: SPIN's network."""

from typing import Any

from fullframe.models.cliff import CLIFF


class HMR(CLIFF):
    """CLIFF with both switches off.

    It sees only the crop, and its 2D loss uses a camera of focal length 5000 px there. Arguments as for
    CLIFF; at inference its people are placed in the full frame in the same way.
    """

    name = "hmr"

    def __init__(
        self,
        encoder: str = "resnet50",
        crop: tuple[int, int] = (256, 192),
        *,
        num_betas: int = 10,
        regressor_act: str = "none",
        regressor_dropout: float = 0.5,
        pool: str = "mean",
        pretrained: bool = False,
    ) -> None:
        super().__init__(
            encoder,
            crop,
            bbox_info_input=False,
            full_frame_loss=False,
            num_betas=num_betas,
            regressor_act=regressor_act,
            regressor_dropout=regressor_dropout,
            pool=pool,
            pretrained=pretrained,
        )

    @property
    def options(self) -> dict[str, Any]:
        options = super().options
        for key in ("bbox_info_input", "full_frame_loss", "bbox_norm", "crop_method"):
            del options[key]
        return options
