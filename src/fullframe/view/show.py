"""`fullframe view`: a page that shows results in files."""

import threading
from collections.abc import Callable
from pathlib import Path

import viser

from fullframe.view.results import body_named, find_results, load_clip
from fullframe.view.server import pages, serve, wait_for_interrupt
from fullframe.view.viewer import Viewer


def show(path: Path, body_path: Path | None, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve results until Ctrl-C.

    Args:
        path: a file of results or a folder of them.
        ready: called with the address of the page.

    Raises:
        ValueError: for files that are no results, or without their body.
        OSError: if a file is missing, or the host is not available.
    """
    files = find_results(path)
    first = load_clip(files[0])
    body_named(first.body, body_path, first.betas.shape[1])  # fails before the page opens
    with (
        serve(host, port, "fullframe") as server,
        pages(server, lambda client: ResultsPage(client, files, body_path)),
    ):
        wait_for_interrupt(server, ready)


class ResultsPage:
    """A page that shows one of several files."""

    def __init__(self, client: viser.ClientHandle, files: list[Path], body_path: Path | None) -> None:
        self._client, self._body_path = client, body_path
        self._files = {file.stem: file for file in files}
        self._viewer: Viewer | None = None
        self._gone = False
        self._lock = threading.Lock()  # viser calls back in several threads
        self._choice = client.gui.add_dropdown("Result", tuple(self._files), visible=len(self._files) > 1)
        self._choice.on_update(lambda _: self._open())
        self._open()

    def close(self) -> None:
        with self._lock:
            self._gone = True
            self._clear(page=False)

    def _open(self) -> None:
        """Show the selected result."""
        with self._lock:
            if self._gone:
                return
            self._clear()
            try:
                clip = load_clip(self._files[self._choice.value])
                body = body_named(clip.body, self._body_path, clip.betas.shape[1])
            except (ValueError, OSError) as error:
                self._client.add_notification("This result cannot be shown", str(error), color="red")
                return
            self._viewer = Viewer(self._client, clip, body)

    def _clear(self, page: bool = True) -> None:
        """Remove the result from the page, if that is still open."""
        if self._viewer is not None:
            self._viewer.close(page)
            self._viewer = None
