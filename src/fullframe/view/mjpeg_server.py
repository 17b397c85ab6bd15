"""A local web page that shows a live video as motion JPEG."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.view.same_origin import refusal

PORT = 8090

_HOST = "127.0.0.1"

_HTML = b"""<!doctype html><meta charset="utf-8"><title>fullframe</title>
<style>html,body{margin:0;height:100%;background:#16181c}
img{width:100%;height:100%;object-fit:contain}</style><img src="stream" alt="live video">"""
_BOUNDARY = "frame"


class MjpegServer:
    """Serves the images given to `show` at `address` to any number of browsers.

    For this computer only, not for other web pages, on PORT or, if that is taken, on a free one.
    """

    def __init__(self) -> None:
        self._new = threading.Condition()
        self._number = 0
        self._jpeg = b""
        self._closed = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reason = refusal(self.headers, _HOST, _HOST)
                if reason:
                    self.send_error(403, explain=reason)
                elif self.path == "/stream":
                    owner._stream(self)
                else:
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html")
                    self.send_header("Content-Length", str(len(_HTML)))
                    self.end_headers()
                    self.wfile.write(_HTML)

            def log_message(self, format: str, *args: object) -> None:
                """Requests are not logged."""

        try:
            self._server = ThreadingHTTPServer((_HOST, PORT), Handler)
        except OSError:
            self._server = ThreadingHTTPServer((_HOST, 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://{_HOST}:{self._server.server_port}"

    def show(self, image: NDArray[np.uint8]) -> None:
        """Show an image (H, W, 3) RGB."""
        good, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        with self._new:
            self._number, self._jpeg = self._number + 1, jpeg.tobytes() if good else b""
            self._new.notify_all()

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        request.end_headers()
        sent = 0
        try:
            while True:
                with self._new:
                    while self._number == sent and not self._closed:
                        self._new.wait()
                    if self._closed:
                        return
                    sent, jpeg = self._number, self._jpeg
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                request.wfile.write(head.encode() + jpeg + b"\r\n")
        except ConnectionError:  # the browser closed the page
            return

    def __enter__(self) -> "MjpegServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._new:
            self._closed = True
            self._new.notify_all()
        self._server.shutdown()
        self._server.server_close()
