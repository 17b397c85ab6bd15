"""CLIFF (Li et al., ECCV 2022): human mesh recovery that knows where its crop sits in the full frame.

Two changes to HMR: the bounding-box info is an input of the regressor, and the 2D loss projects into the full
frame. Each is a switch, for the paper's ablation; with both off this is HMR.
"""

from fullframe.models.crop_regressor import CropRegressor
from fullframe.models.iterative_regressor import WIDTH, IterativeRegressor


class CLIFF(CropRegressor):
    """Encoder and iterative regressor with bounding-box info. Arguments: see CropRegressor."""

    name = "cliff"

    def __init__(
        self,
        encoder: str = "resnet50",
        crop: tuple[int, int] = (256, 192),
        *,
        bbox_info_input: bool = True,
        full_frame_loss: bool = True,
        bbox_norm: str = "plain",
        num_betas: int = 10,
        regressor_width: int = WIDTH,
        regressor_act: str = "none",
        regressor_dropout: float = 0.5,
        pool: str = "mean",
        crop_method: str = "antialiased",
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
            crop_method=crop_method,
            pretrained=pretrained,
        )
        self.regressor = IterativeRegressor(
            self.input_width, num_betas, regressor_width, regressor_act, regressor_dropout
        )
