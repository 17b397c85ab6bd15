"""`fullframe review`: labels in the browser, to be accepted, rejected or corrected.

The scene has three squares side by side: the photo around a person, with keypoints that can be dragged; the
same with the body over it; and the body alone, which can be rotated.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import viser
from numpy.typing import NDArray

from fullframe.annotate.review import ACCEPTED, REJECTED, SCORES, SHOWN, Review
from fullframe.body import JOINT_SETS
from fullframe.geometry.box import PersonBox, crop_image
from fullframe.geometry.rotation import axis_rotation
from fullframe.geometry.world import Y_UP
from fullframe.io.image import ImageError, read_photo
from fullframe.render.colors import PALETTE
from fullframe.render.mesh_shading import draw_meshes
from fullframe.view.rig import quaternion
from fullframe.view.server import pages, serve, wait_for_interrupt

SIDE = 800
"""Side of the photo that is sent to the browser, px."""
WINDOW_SCALE = 1.4
"""Side of the part of the photo that is shown, in units of the box's longer side."""

_FOV = np.radians(20)
_SPACING = 1.04  # between the centres of the squares, whose sides are 1
_RADIUS = 0.009
_LEFT, _RIGHT, _MIDDLE, _UNKNOWN = (255, 140, 0), (0, 150, 255), (240, 60, 160), (150, 150, 150)
_VIEWS = {"front": (0.0, 0.0), "side": (np.pi / 2, 0.0), "back": (np.pi, 0.0), "above": (0.0, np.pi / 2)}
_HELP = (
    "**Drag a keypoint** to where the joint is: the body is fitted again. **Click a keypoint** to exclude it "
    "(grey) or to include it. **Drag the body** on the right to rotate it.\n\n"
    "Keys: Y accept, N reject, Page Down next, Page Up previous, U undo corrections, F reset the view."
)


def serve_review(review: Review, images: Path, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve the page until Ctrl-C. Each browser tab has its own position in the same review.

    Args:
        images: the folder that the names of the photos are relative to.
        ready: called with the address of the page.

    Raises:
        OSError: the server cannot listen on the host.
    """
    with (
        serve(host, port, "fullframe review") as server,
        pages(server, lambda client: ReviewPage(client, review, images)),
    ):
        wait_for_interrupt(server, ready)


class ReviewPage:
    """A browser tab that shows one person at a time."""

    def __init__(self, client: viser.ClientHandle, review: Review, images: Path) -> None:
        self._client, self._review, self._images = client, review, images
        self._worker = ThreadPoolExecutor(1)  # actions in order, and none in the server's event loop
        self._chosen: list[int] = []
        self._position = 0
        self._photo: tuple[str, NDArray[np.uint8]] = "", np.zeros((1, 1, 3), np.uint8)
        self._angles = np.zeros(2)  # of the body: about the vertical, and towards the viewer
        with client.atomic():
            self._add_panel()
            self._add_scene()
        self._do(self._choose)
        self.reset_view()

        # The window's shape is known only after the panel has found its place, and may change.
        @client.camera.on_update
        def _(camera: viser.CameraHandle) -> None:
            if abs(camera.aspect - self._aspect) > 0.01:
                self.reset_view()

    def close(self) -> None:
        """Nothing is left to save: verdicts are on disk already."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def reset_view(self) -> None:
        """Look straight at the squares, from where all fit into the window."""
        camera = self._client.camera
        self._aspect = camera.aspect
        half = max(0.53, (_SPACING + 0.53) / self._aspect)  # the photo's left, the body's right
        with self._client.atomic():
            camera.fov = _FOV
            camera.up_direction = (0.0, 1.0, 0.0)
            camera.position = (0.0, 0.0, float(half / np.tan(_FOV / 2)))
            camera.look_at = (0.0, 0.0, 0.0)

    # The panel

    def _add_panel(self) -> None:
        gui = self._client.gui
        self._title = gui.add_markdown("")
        self._accept = gui.add_button("Accept (Y)", color="green", icon=viser.Icon.CHECK)
        self._reject = gui.add_button("Reject (N)", color="red", icon=viser.Icon.X)
        self._step = gui.add_button_group("Go", ("previous", "next"))
        self._undo = gui.add_button("Undo corrections (U)", icon=viser.Icon.ARROW_BACK_UP)
        self._side = gui.add_button_group("Rotate", tuple(_VIEWS))
        with gui.add_folder("Filter"):
            self._shown = gui.add_dropdown("Show", SHOWN)
            self._by = gui.add_dropdown("Score", SCORES)
            self._worst_first = gui.add_checkbox("Worst first", False)
            self._least = gui.add_number("at least", 0.0, step=0.001)
            self._most = gui.add_number("at most", 0.0, step=0.001)
            self._number = gui.add_markdown("")
        self._export = gui.add_button("Write accepted labels", icon=viser.Icon.DEVICE_FLOPPY)
        gui.add_markdown(_HELP)
        self._span()

        actions: dict[str, tuple[Any, Any]] = {
            "Accept": ("Y", lambda: self._judge(ACCEPTED)),
            "Reject": ("N", lambda: self._judge(REJECTED)),
            "Next": ("pagedown", lambda: self._go(1)),
            "Previous": ("pageup", lambda: self._go(-1)),
            "Undo corrections": ("U", self._restore),
            "Reset the view": ("F", self.reset_view),
        }
        for name, (key, action) in actions.items():
            command = gui.add_command(name, hotkey=key)
            command.on_trigger(lambda _, action=action: self._do(action))
        self._accept.on_click(lambda _: self._do(self._judge, ACCEPTED))
        self._reject.on_click(lambda _: self._do(self._judge, REJECTED))
        self._step.on_click(lambda event: self._do(self._go, 1 if event.target.value == "next" else -1))
        self._undo.on_click(lambda _: self._do(self._restore))
        self._side.on_click(lambda event: self._rotate_to(event.target.value))
        self._export.on_click(lambda _: self._do(self._write))
        self._by.on_update(lambda _: self._do(self._rescale))
        for handle in (self._shown, self._worst_first, self._least, self._most):
            handle.on_update(lambda _: self._do(self._choose))

    def _do(self, action: Any, *arguments: Any) -> None:
        """Run an action in the tab's own thread; errors are shown in the tab."""
        seen = self._index if self._chosen else None

        def run() -> None:
            self._seen = seen
            try:
                action(*arguments)
            except Exception as error:  # the page stays usable
                self._client.add_notification("This failed", str(error) or repr(error), color="red")

        with contextlib.suppress(RuntimeError):  # closed in the meantime
            self._worker.submit(run)

    def _span(self) -> None:
        """Set the bounds of the score to those of all people."""
        values = getattr(self._review.labels, self._by.value)
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        self._bounds = np.floor(100 * low) / 100, np.ceil(100 * high) / 100
        self._least.value, self._most.value = self._bounds

    def _rescale(self) -> None:
        self._span()
        self._choose()

    def _choose(self) -> None:
        """Show the people that the filters choose, from the first on."""
        low, high = self._bounds
        chosen = self._review.choose(
            self._shown.value,
            self._by.value,
            -np.inf if self._least.value <= low else self._least.value,
            np.inf if self._most.value >= high else self._most.value,
            self._worst_first.value,
        )
        if chosen != self._chosen or not chosen:
            self._chosen, self._position = chosen, 0
            self._show()

    def _go(self, by: int) -> None:
        place = self._position + by
        if 0 <= place < len(self._chosen):
            self._position = place
            self._show()
        elif self._chosen:
            end = "last" if by > 0 else "first"
            self._client.add_notification(f"This is the {end} one", "", auto_close_seconds=2)

    def _judge(self, verdict: str) -> None:
        # A key that is pressed again before the next person appears is ignored.
        if self._chosen and self._seen == self._index:
            self._review.set_verdict(self._index, verdict)
            self._describe()
            self._go(1)

    def _restore(self) -> None:
        if self._chosen and self._review.changed[self._index]:
            self._review.restore(self._index)
            self._show_person()

    def _write(self) -> None:
        files = self._review.export()
        text = ", ".join(str(file) for file in files) or "no one is accepted yet"
        self._client.add_notification("Written" if files else "Nothing written", text)

    def _describe(self) -> None:
        review, labels = self._review, self._review.labels
        accepted, rejected = (int((review.verdicts == v).sum()) for v in (ACCEPTED, REJECTED))
        self._number.content = (
            f"{len(self._chosen)} of {len(review)} people; {accepted} accepted, {rejected} rejected"
        )
        if not self._chosen:
            self._title.content = "**No one** matches: change the filter below."
            return
        i = self._index
        verdict = str(review.verdicts[i]) or "not reviewed"
        scores = [
            f"reprojection {labels.reprojection[i]:.3f}",
            f"prior {labels.prior[i]:.0f}",
            f"agreement {labels.agreement[i]:.0f} mm",
        ]
        marks = [
            verdict,
            *["corrected"] * bool(review.changed[i]),
            *["unreliable"] * (not labels.reliable[i]),
        ]
        self._title.content = (
            f"**{self._position + 1} of {len(self._chosen)}: {', '.join(marks)}**\n\n"
            f"{labels.photos[i]}, annotation {labels.ids[i]}: {labels.visible[i]} keypoints, "
            + ", ".join(text for text in scores if "nan" not in text)
        )

    # The scene

    def _add_scene(self) -> None:
        scene = self._client.scene
        table = {"show_axes": False, "wxyz": quaternion(Y_UP.rotation)}  # x right, y down
        scene.add_frame("/photo", position=(-_SPACING, 0.0, 0.0), **table)
        scene.add_frame("/overlay", position=(0.0, 0.0, 0.0), **table)
        scene.add_frame("/person", position=(_SPACING, 0.0, 0.0), **table)
        flat = {"cast_shadow": False, "receive_shadow": False}
        blank = np.full((2, 2, 3), 235, np.uint8)
        self._plane, self._overlay = (
            scene.add_image(f"/{name}/picture", blank, 1.0, 1.0, format="jpeg", **flat)
            for name in ("photo", "overlay")
        )
        joints = JOINT_SETS[self._review.labels.joint_set]
        self._bones = np.array(joints.bones)
        self._lines: viser.LineSegmentsHandle | None = None
        self._name = scene.add_label("/photo/name", "", visible=False)
        self._points = [
            scene.add_icosphere(f"/photo/point_{k}", _RADIUS, _color(name), subdivisions=2, **flat)
            for k, name in enumerate(joints.names)
        ]
        for k in range(len(self._points)):
            self._make_draggable(k)
        self._mesh: viser.MeshHandle | None = None

    def _make_draggable(self, k: int) -> None:
        point = self._points[k]
        name = JOINT_SETS[self._review.labels.joint_set].names[k].replace("_", " ")
        grabbed = np.zeros(2)

        # In the event loop, so that the phases of a drag come in order; the worker does what takes time.
        @point.on_drag
        async def _(event: viser.SceneNodeDragEvent) -> None:
            nonlocal grabbed
            if event.phase == "start":
                grabbed = _in_plane(event.client, event.start_position) - point.position[:2]
            place = np.clip(_in_plane(event.client, event.end_position) - grabbed, -0.5, 0.5)
            point.position = (*place, -_RADIUS)
            point.color = _color(name)
            self._name.position = (place[0], place[1] - 0.03, -0.02)
            self._name.text, self._name.visible = name, event.phase != "end"
            if event.phase == "end":
                self._do(self._move, self._index, k, place)

        @point.on_click
        def _(_: viser.SceneNodePointerEvent) -> None:
            self._do(self._toggle, self._index, k)

    def _move(self, index: int, k: int, place: NDArray[np.float64]) -> None:
        points = self._review.labels.keypoints[index].copy()
        size = self._review.labels.sizes[index]
        points[k] = *np.clip(self._window.center[0] + place * self._window.size[0], 0, size - 1), 1.0
        self._correct(index, points)

    def _toggle(self, index: int, k: int) -> None:
        points = self._review.labels.keypoints[index].copy()
        if points[k, 2] > 0:
            points[k] = 0
        else:
            points[k] = *self._review.projected(index)[k], 1.0
        self._correct(index, points)

    def _correct(self, index: int, points: NDArray[np.float32]) -> None:
        self._review.correct(index, points)
        if self._chosen and self._index == index:
            self._show_person()

    @property
    def _index(self) -> int:
        return self._chosen[self._position]

    def _show(self) -> None:
        """Show the photo and the body of the current person."""
        for point in self._points:
            point.visible = bool(self._chosen)
        if self._chosen:
            self._angles = np.zeros(2)
            labels, i = self._review.labels, self._index
            box = labels.boxes[i].astype(np.float64)
            self._window = PersonBox(
                (box[:2] + box[2:])[None] / 2, np.array([WINDOW_SCALE * (box[2:] - box[:2]).max()])
            )
            self._view = crop_image(self._read(str(labels.photos[i])), self._window, (SIDE, SIDE))[0]
            self._plane.image = self._view
        self._show_person()

    def _show_person(self) -> None:
        """Draw what a correction changes."""
        self._describe()
        if not self._chosen:
            return
        labels, some = self._review.labels, slice(self._index, self._index + 1)
        with torch.inference_mode():
            values = (labels.betas[some], labels.pose[some], labels.translation[some])
            self._vertices = self._review.body(*map(torch.from_numpy, values)).vertices.numpy()
        with self._client.atomic():
            self._draw_overlay()
            self._draw_points()
            self._draw_body()

    def _draw_overlay(self) -> None:
        size = float(self._window.size[0])
        left, top = (self._window.center[0] - size / 2).tolist()
        intrinsics = self._review.labels.camera(self._index).through((left, top, size / SIDE))
        faces = self._review.body.faces.numpy().astype(np.int32)
        self._overlay.image = draw_meshes(self._view, self._vertices, faces, [PALETTE[0]], intrinsics, 0.65)

    def _draw_points(self) -> None:
        given = self._review.labels.keypoints[self._index]
        known = given[:, 2] > 0
        pixels = np.where(known[:, None], given[:, :2], self._review.projected(self._index))
        places = (pixels - self._window.center[0]) / self._window.size[0]
        names = JOINT_SETS[self._review.labels.joint_set].names
        for point, place, seen, name in zip(self._points, places, known, names, strict=True):
            point.position = (*place, -_RADIUS)
            point.color = _color(name) if seen else _UNKNOWN
            point.visible = bool(seen or (np.abs(place) < 0.5).all())
        drawn = [(a, b) for a, b in self._bones if known[a] and known[b]]
        segments = np.array([[[*places[a], -0.003], [*places[b], -0.003]] for a, b in drawn], np.float32)
        if self._lines is not None:
            self._lines.remove()
        self._lines = None
        if drawn:
            self._lines = self._client.scene.add_line_segments(
                "/photo/bones", segments, (255, 255, 255), thickness=1.5, thickness_units="screen"
            )

    def _draw_body(self) -> None:
        vertices = self._vertices[0]
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        placed = (vertices - (low + high) / 2) * (0.85 / float((high - low).max()))
        self._mesh = self._client.scene.add_mesh_simple(
            "/person/body", placed, self._review.body.faces.numpy(), color=PALETTE[0],
            cast_shadow=False, receive_shadow=False, wxyz=self._rotation(),
        )  # fmt: skip
        last = np.zeros(2)

        @self._mesh.on_drag
        async def _(event: viser.SceneNodeDragEvent) -> None:
            nonlocal last
            now = np.array(event.end_screen_pos)
            if event.phase != "start":
                self._angles += (now - last) * (2 * np.pi, np.pi)
                self._angles[1] = np.clip(self._angles[1], -np.pi / 2, np.pi / 2)
                event.target.wxyz = self._rotation()
            last = now

    def _rotate_to(self, name: str) -> None:
        self._angles = np.array(_VIEWS[name])
        if self._mesh is not None:
            self._mesh.wxyz = self._rotation()

    def _rotation(self) -> NDArray[np.float64]:
        """The rotation (w, x, y, z) of the body alone."""
        about, towards = self._angles
        return quaternion(axis_rotation(0, -towards) @ axis_rotation(1, -about))

    def _read(self, name: str) -> NDArray[np.uint8]:
        """The photo; a grey one and a message if it cannot be read."""
        if self._photo[0] != name:
            try:
                self._photo = name, read_photo(self._images / name).pixels
            except ImageError as error:
                self._client.add_notification("The photo cannot be shown", str(error), color="red")
                width, height = self._review.labels.sizes[self._index].tolist()
                self._photo = name, np.full((height, width, 3), 200, np.uint8)
        return self._photo[1]


def _color(name: str) -> tuple[int, int, int]:
    """Of a keypoint on the left, on the right, or neither."""
    return {"left": _LEFT, "righ": _RIGHT}.get(name[:4], _MIDDLE)


def _in_plane(client: viser.ClientHandle, position: tuple[float, float, float]) -> NDArray[np.float64]:
    """Projects a point of the world, as seen by the client, to the photo's plane: x right, y down."""
    eye, seen = np.array(client.camera.position), np.array(position)
    along = eye[2] / (eye[2] - seen[2])
    x, y = (eye + along * (seen - eye))[:2]
    return np.array([x + _SPACING, -y])
