"""The command `fullframe imagine`."""

from pathlib import Path
from typing import Annotated

import tyro

_MOST = 60
"""People in a picture: a JPEG file has at most 65,535 rows."""


def imagine(
    photo: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    *,
    model: str,
    body_path: Path | None = None,
    detector: str = "builtin",
) -> int:
    """Infer the people of a photo from the directions 0, 90, 180 and 270 degrees around them.

    Writes one picture: bodies and silhouettes inferred from each direction, beside the body inferred from the
    photo's direction and then turned. The nearer the two, the more the network knows about the unseen side.

    Args:
        photo: with people; if there are more than 60, the largest are drawn.
        out: folder for the picture, <name of the photo>_imagined.jpg.
        model: path of an imphmr network (.safetensors). None is shipped: fullframe train trains one.
        body_path: your SMPL file, if the network predicts SMPL and fullframe doctor does not find it.
        detector: builtin, torchvision, rtmlib or transformers.
    """
    import numpy as np

    from fullframe.body import load_body
    from fullframe.cli.console import UsageError, count, say
    from fullframe.cli.outputs import make_writable
    from fullframe.detect import load_detector
    from fullframe.geometry.camera import Camera
    from fullframe.imagine.figure import draw
    from fullframe.imagine.novel_views import imagine_people, offered_by
    from fullframe.io.image import read_photo, write_jpeg
    from fullframe.models import load_model

    make_writable(out)
    if photo.is_dir():
        raise UsageError(f"{photo} is a folder; name one photo in it")
    try:
        network, card = load_model(model)
        try:
            imagining = offered_by(network)
        except ValueError as error:
            raise UsageError(f"{model}: {error}") from error
        body = load_body(card.body, body_path, network.num_betas)
        taken = read_photo(photo)
        found, _ = load_detector(detector).boxes(taken.pixels)
        if not len(found):
            raise UsageError(f"{photo}: no person found; another --detector may see more")
        boxes = found[np.argsort(-np.prod(found[:, 2:] - found[:, :2], axis=1), kind="stable")[:_MOST]]
        camera = taken.exif_camera or Camera.from_diagonal(taken.size)
        views = imagine_people(imagining, taken.pixels, boxes, camera)
        path = out / f"{photo.stem}_imagined.jpg"
        write_jpeg(path, draw(views, body))
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
    people = count(len(found), "person", "people")
    if len(boxes) < len(found):
        people = f"the {len(boxes)} largest of {people}"
    say(f"{photo}: {people} from {views.pose.shape[1]} directions -> {path}")
    return 0
