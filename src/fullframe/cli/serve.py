"""The command `fullframe serve`."""

import os
from pathlib import Path

from fullframe.cli.console import UsageError, console, needs_extra, say, usage_errors

TOKEN = "FULLFRAME_TOKEN"
"""The environment variable with the token: on a command line, others could read it."""
_SHORTEST = 16


def serve(
    model: str | None = None,
    refine: bool = True,
    body: str = "open",
    body_path: Path | None = None,
    detector: str = "builtin",
    host: str = "127.0.0.1",
    port: int = 8000,
    max_mb: int = 200,
    max_megapixels: int = 50,
    max_seconds: float = 60,
    queue: int = 16,
    photo_timeout: float = 60,
    clip_timeout: float = 1800,
) -> int:
    """Serve photos and clips of other programs over HTTP.

    POST a photo to /photos for JSON, GLB or an overlay; POST a clip to /clips for a job with progress, files
    and cancelling; /docs describes everything. Uploads are deleted once they are answered. Ctrl-C stops it.

    Args:
        model: cliff-lite (the default, built in), a trained network (.safetensors), or keypoint-fit (the
            default for SMPL): bodies fitted to 2D keypoints.
        refine: fit the bodies of the network to the 2D keypoints; --no-refine is faster and less accurate.
        body: open (built in) or smpl; smpl-neutral, -male, -female if the file name does not say which.
        body_path: your SMPL file, .npz or .pkl; default: the one that fullframe doctor finds.
        detector: builtin, torchvision, rtmlib or transformers.
        host: 127.0.0.1: for this computer only; 0.0.0.0: for the whole network, with a token that is printed,
            or that the environment variable FULLFRAME_TOKEN holds.
        port: to listen on; 0 for any that is free.
        max_mb: largest file, MB; photos may have a quarter of it.
        max_megapixels: largest photo, and largest frame of a clip.
        max_seconds: longest clip.
        queue: most photos, and most clips, that are taken on at a time.
        photo_timeout: seconds in which a photo has to be answered.
        clip_timeout: seconds that the processing of a clip may take.
    """
    with needs_extra("serve"):
        import fastapi  # noqa: F401
        import fastapi_offline  # noqa: F401
        import uvicorn  # noqa: F401
    numbers = (max_mb, max_megapixels, max_seconds, queue, photo_timeout, clip_timeout)
    if not all(number > 0 for number in numbers):
        raise UsageError("all limits must be more than 0")
    token = os.environ.get(TOKEN) or None
    if token is not None and (len(token) < _SHORTEST or not token.isascii() or not token.isprintable()):
        raise UsageError(f"{TOKEN} must be of {_SHORTEST} or more plain characters")
    with usage_errors():
        from fullframe.recovery.photo import Recoverer
        from fullframe.serve.limits import Limits
        from fullframe.serve.uvicorn_server import serve_api
        from fullframe.view.upload_checks import UploadLimits

        pixels = 1_000_000 * max_megapixels
        limits = Limits(
            photo=UploadLimits(250_000 * max_mb, pixels, max_seconds),
            clip=UploadLimits(1_000_000 * max_mb, pixels, max_seconds),
            photos=queue,
            clips=queue,
            photo_s=photo_timeout,
            clip_s=clip_timeout,
        )
        with console.status("loading"):
            recoverer = Recoverer(model, refine, body, body_path, detector)
        serve_api(recoverer, host, port, token, limits, _ready)
    return 0


def _ready(address: str, token: str | None) -> None:
    # A token of the user's own is not repeated: logs are read by others.
    shown = "..." if token and token == os.environ.get(TOKEN) else token
    page = f"{address}/docs" + (f"?token={shown}" if shown else "")
    say(f"listening at {address}; {page} describes it (Ctrl-C stops)")
    if shown:
        where = f", with the token of {TOKEN}" if shown != token else ""
        say(f"every request needs the header  Authorization: Bearer {shown}{where}")
        say(
            "there is no encryption: put a server with TLS before it where the network is not yours",
            style="yellow",
        )
