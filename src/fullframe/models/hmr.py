"""HMR (Kanazawa et al., CVPR 2018) in the form that CLIFF is compared with: SPIN's network.

It sees only the crop, and its 2D loss uses a camera of focal length 5000 px there. At inference its people
are placed in the full frame as CLIFF's are.
"""

from fullframe.models.crop_regressor import CropRegressor
from fullframe.models.iterative_regressor import WIDTH, IterativeRegressor


class HMR(CropRegressor):
    """Encoder and iterative regressor. Arguments: see CropRegressor."""

    name = "hmr"

    def __init__(
        self,
        encoder: str = "resnet50",
        crop: tuple[int, int] = (256, 192),
        *,
        num_betas: int = 10,
        regressor_width: int = WIDTH,
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
            bbox_norm="plain",
            num_betas=num_betas,
            regressor_width=regressor_width,
            regressor_act=regressor_act,
            regressor_dropout=regressor_dropout,
            pool=pool,
            pretrained=pretrained,
        )
        self.regressor = IterativeRegressor(
            self.input_width, num_betas, regressor_width, regressor_act, regressor_dropout
        )
