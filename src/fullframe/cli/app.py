"""The command `fullframe app`."""

from pathlib import Path

from fullframe.cli.console import console, needs_extra, say, usage_errors


def app(
    model: str | None = None,
    body: str = "open",
    body_path: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> int:
    """Serve a page in the browser that takes photos and short clips and shows their people in 3D.

    Ctrl-C stops it. Uploads are kept in a temporary folder and deleted when their page is closed, and at the
    end.

    Args:
        model: cliff-lite (the default), hmr-lite or imphmr-lite, which are built in, a trained network
            (.safetensors), or keypoint-fit (the default for SMPL): bodies fitted to 2D keypoints.
        body: open (built in) or smpl; smpl-neutral, -male, -female if the file name does not say which.
        body_path: your SMPL file, .npz or .pkl; default: the one that fullframe doctor finds.
        host: 127.0.0.1: for this computer only; 0.0.0.0: for the whole network. There is no password.
        port: if it is taken, the next free one is used.
    """
    with needs_extra("view"):
        from fullframe.view.app import serve_app
    from fullframe.recovery.photo import Recoverer

    with usage_errors():
        with console.status("loading"):
            recoverer = Recoverer(model, body=body, body_path=body_path)
        command = ["fullframe", "run"]
        for option, value in (("--model", model), ("--body", body), ("--body-path", body_path)):
            if value is not None and value != "open":
                command += [option, str(value)]
        serve_app(recoverer, command, host, port, ready=lambda address: say(f"open {address} (Ctrl-C stops)"))
    return 0
