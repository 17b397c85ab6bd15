"""The command `fullframe view`."""

from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.console import needs_extra, say, usage_errors


def view(
    results: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT|FILE.npz")],
    /,
    body_path: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> int:
    """Show results in 3D, in the browser. Ctrl-C stops it.

    Args:
        results: output folder of `fullframe run`, or one .npz in it.
        body_path: your SMPL file, .npz or .pkl, for results with SMPL; default: the one that fullframe doctor
            finds.
        host: 127.0.0.1: for this computer only; 0.0.0.0: for the whole network. There is no password.
        port: if it is taken, the next free one is used.
    """
    with needs_extra("view"):
        from fullframe.view.show import show
    with usage_errors():
        show(results, body_path, host, port, lambda address: say(f"{results}: open {address} (Ctrl-C stops)"))
    return 0
