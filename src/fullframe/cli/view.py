"""The commands `fullframe view` and `fullframe app`."""

from pathlib import Path
from typing import Annotated

import tyro

_MISSING = "the browser pages need one more package ({}): pip install 'fullframe[view]'"


def view(
    results: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT|FILE.npz")],
    /,
    body_path: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> int:
    """Look at results in 3D, in the browser. Ctrl-C ends it.

    Args:
        results: what `fullframe run` wrote: its output folder, or one .npz of it.
        body_path: your SMPL file, .npz or .pkl, for results with SMPL; else the one fullframe doctor finds.
        host: who may look: 127.0.0.1, this computer only; 0.0.0.0, the whole network. There is no password.
        port: the next free one is taken if it is not free.
    """
    from fullframe.cli.console import UsageError

    try:
        from fullframe.view.show import show
    except ImportError as error:
        raise UsageError(_MISSING.format(error)) from error
    try:
        show(results, body_path, host, port)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    return 0


def app(
    model: str | None = None,
    body: str = "open",
    body_path: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> int:
    """A page in the browser that takes photos and short clips and shows their people in 3D. Ctrl-C ends it.

    Uploads are kept in a temporary folder, which is emptied when their page is closed and at the end.

    Args:
        model: cliff-lite (the default, built in), a trained network (.safetensors), or keypoint-fit (the
            default for SMPL): bodies fitted to 2D keypoints.
        body: open (built in) or smpl; smpl-neutral, -male, -female where the file's name does not say which.
        body_path: your SMPL file, .npz or .pkl; without it, the one that fullframe doctor finds.
        host: who may use it: 127.0.0.1, this computer only; 0.0.0.0, the whole network. There is no password.
        port: the next free one is taken if it is not free.
    """
    from fullframe.cli.console import UsageError, console

    try:
        from fullframe.view.app import serve_app
    except ImportError as error:
        raise UsageError(_MISSING.format(error)) from error
    from fullframe.recover.photo import Recoverer

    try:
        with console.status("loading"):
            recoverer = Recoverer(model, body=body, body_path=body_path)
        serve_app(recoverer, host, port)
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename or error}: no such file") from error
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    return 0
