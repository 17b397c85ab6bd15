"""`fullframe view`: results that lie in files, for whoever opens the page."""

from pathlib import Path

import viser

from fullframe.view.results import body_named, find_results, load_clip
from fullframe.view.server import address, say_until_ctrl_c, serve
from fullframe.view.viewer import Viewer


def show(path: Path, body_path: Path | None, host: str, port: int) -> None:
    """Serve results until Ctrl-C.

    Raises:
        ValueError: for files that are no results, or without their body.
        OSError: if a file is missing, or nothing can listen on the host.
    """
    files = find_results(path)
    first = load_clip(files[0])
    body_named(first.body, body_path, first.betas.shape[1])  # what is wrong shows before the page opens
    with serve(host, port, "fullframe") as server:
        tabs: dict[int, Tab] = {}

        @server.on_client_connect
        def _(client: viser.ClientHandle) -> None:
            tabs[client.client_id] = Tab(client, files, body_path)

        @server.on_client_disconnect
        def _(client: viser.ClientHandle) -> None:
            tab = tabs.pop(client.client_id, None)
            if tab is not None:
                tab.close(page=False)

        say_until_ctrl_c(f"{path}: look at it on {address(server)} (Ctrl-C ends)")
        for tab in list(tabs.values()):  # some are being closed meanwhile
            tab.close(page=False)


class Tab:
    """A browser tab that shows one of several files."""

    def __init__(self, client: viser.ClientHandle, files: list[Path], body_path: Path | None) -> None:
        self._client, self._body_path = client, body_path
        self._viewer: Viewer | None = None
        names = {file.stem: file for file in files}
        choice = client.gui.add_dropdown("Result", tuple(names), visible=len(names) > 1)

        @choice.on_update
        def _(_: viser.GuiEvent) -> None:
            self._open(names[choice.value])

        self._open(files[0])

    def _open(self, file: Path) -> None:
        self.close()
        try:
            clip = load_clip(file)
            body = body_named(clip.body, self._body_path, clip.betas.shape[1])
        except (ValueError, OSError) as error:
            self._client.add_notification("This result cannot be shown", str(error), color="red")
            return
        self._viewer = Viewer(self._client, clip, body)

    def close(self, page: bool = True) -> None:
        """Stop, and take the result out of the page unless that is closed already."""
        if self._viewer is not None:
            self._viewer.close(page)
            self._viewer = None
