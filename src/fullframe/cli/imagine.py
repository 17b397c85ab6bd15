"""The command `fullframe imagine`."""

from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.console import UsageError, say, usage_errors
from fullframe.io.text import plural

_MAX_PEOPLE = 60
"""People in one picture: a JPEG file has at most 65,535 rows."""


def imagine(
    photo: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    *,
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    vertical_fov: float | None = None,
    camera: str | None = None,
    model: str = "imphmr-lite",
    body_path: Path | None = None,
    detector: str = "builtin",
) -> int:
    """Predict the people of a photo from the directions 0, 90, 180 and 270 degrees around them.

    Writes one picture: bodies and silhouettes predicted for each direction, beside the body predicted for the
    direction of the photo and then rotated. The closer the two, the more the network knows about the unseen
    side.

    Args:
        photo: if it has more than 60 people, the largest are drawn.
        out: folder for the picture, <name of the photo>_imagined.jpg.
        focal: focal length in px. Where no camera is given: from EXIF, else the image diagonal.
        fov: horizontal field of view in degrees.
        intrinsics: fx fy cx cy in px.
        vertical_fov: vertical field of view in degrees.
        camera: a calibration with the distortion of the lens, as for fullframe run.
        model: imphmr-lite, which is built in, or a trained imphmr network (.safetensors).
        body_path: your SMPL file, for a network that predicts SMPL; default: the one that fullframe doctor
            finds.
        detector: builtin, torchvision, rtmlib or transformers.
    """
    import numpy as np

    from fullframe.body import load_body
    from fullframe.detect import load_detector
    from fullframe.detect.find_people import find_people
    from fullframe.imagine.figure import draw
    from fullframe.imagine.novel_views import imagine_people, require_novel_views
    from fullframe.io.image import read_photo, write_jpeg
    from fullframe.models import load_model
    from fullframe.recovery.outputs import make_writable
    from fullframe.recovery.photo import read_camera_options

    if photo.is_dir():
        raise UsageError(f"{photo} is a folder; give one photo in it")
    with usage_errors():
        given = read_camera_options(focal, fov, intrinsics, vertical_fov, camera)
        make_writable(out)
        network, card = load_model(model)
        try:
            imagining = require_novel_views(network)
        except ValueError as error:
            raise UsageError(f"{model}: {error}") from error
        body = load_body(card.body, body_path, network.num_betas)
        taken = read_photo(photo)
        found = find_people(load_detector(detector), taken.pixels).boxes
        if not len(found):
            raise UsageError(f"{photo}: no person found; another --detector may find more")
        areas = np.prod(found[:, 2:] - found[:, :2], axis=1)
        boxes = found[np.argsort(-areas, kind="stable")[:_MAX_PEOPLE]]
        used = given.camera(taken.size, taken.path) or taken.camera
        views = imagine_people(imagining, taken.pixels, used.undistort_boxes(boxes), used)
        path = out / f"{photo.stem}_imagined.jpg"
        write_jpeg(path, draw(views, body))
    people = plural(len(found), "person", "people")
    if len(boxes) < len(found):
        people = f"the {len(boxes)} largest of {people}"
    say(f"{photo}: {people} from {views.pose.shape[1]} directions -> {path}")
    return 0
