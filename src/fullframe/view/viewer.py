"""A clip in one browser page: scene, controls and time line.

Meshes are sent once, for each frame only the poses of their bones; the browser does the skinning.
Pose blend shapes are left out: they move the surface by some millimetres.
"""

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import viser
from numpy.typing import NDArray
from viser import _messages

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.geometry.world import level_frame
from fullframe.render.colors import person_colors
from fullframe.results.clip import Clip
from fullframe.view.backdrops import Backdrops
from fullframe.view.rig import BonePoses, bone_poses, quaternion, rig

_NUMBERS = itertools.count()
_JOINTS = JOINT_SETS["smpl24"]
_BONES = np.array(_JOINTS.bones)
_SPEEDS = {"1/4 speed": 0.25, "1/2 speed": 0.5, "normal speed": 1.0, "double speed": 2.0}
_NOBODY = "nobody"
_FOV = np.radians(45)
_INK = (60, 66, 76)


@dataclass
class _TrackHandles:
    """The handles of one track in the scene and in the panel."""

    track: int
    trail: viser.LineSegmentsHandle | None
    mesh: viser.MeshSkinnedHandle
    skeleton: viser.LineSegmentsHandle
    joints: viser.PointCloudHandle
    shown: viser.GuiCheckboxHandle
    color: viser.GuiRgbHandle
    names: list[viser.LabelHandle] = field(default_factory=list)


class Viewer:
    """Shows a clip to one client until `close`.

    All nodes are children of one of its own, so that everything in them is in the clip's camera frame; the
    world has y up, and y = 0 is the ground if that is known.

    Args:
        body: the clip's, with as many betas.
    """

    def __init__(self, client: viser.ClientHandle, clip: Clip, body: BodyModel) -> None:
        # The image and its frame turn with the camera.
        self._client, self._clip, self._body = client, clip.in_world(body), body
        self._turns = clip.camera_rotation
        self._name = f"/clip_{next(_NUMBERS)}"
        self._rotation, self._position = level_frame(clip.ground)
        self._backdrops = Backdrops(clip)
        self._wake, self._image_wanted = threading.Event(), threading.Event()
        self._closed = False
        self._shown_frame, self._shown_image = -1, -1
        self._followed: tuple[str, NDArray[np.float64]] | None = None

        pelvises = self._pelvises()
        depth: NDArray[np.float64] = pelvises[:, 2] if len(pelvises) else np.full(1, 4.0)
        self._near = float(np.clip(0.3 * np.percentile(depth, 5), 0.3, 1.2))
        self._far = float(max(1.25 * depth.max(), depth.max() + 1))
        world = pelvises @ self._rotation.T + self._position
        self._center: NDArray[np.float64] = np.median(world, axis=0) if len(world) else np.array([0, 0, -4.0])
        self._spread = 1.3 + (
            float(np.percentile(np.linalg.norm(world - self._center, axis=1), 95)) if len(world) else 0.0
        )

        with client.atomic():
            self._add_panel()
            self._add_scene()
            self._people = self._add_people()
            self._draw()
        self.look_from("outside")
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._play, self._read_images)]
        for thread in self._threads:
            thread.start()

    def close(self, page: bool = True) -> None:
        """Stop, and remove everything from the page unless that is closed already.

        Skinned meshes are only hidden: the client of viser 1.1 crashes when one is removed or replaced
        ("Cannot read properties of null").
        """
        self._closed = True
        self._wake.set()
        self._image_wanted.set()
        for thread in self._threads:
            thread.join()
        self._backdrops.close()
        if page:
            for person in self._people:
                person.mesh.visible = False
                for handle in (person.skeleton, person.joints, person.trail, *person.names):
                    if handle is not None:
                        handle.remove()
            for handle in (self._plane, self._frustum, self._ground, *self._folders):
                if handle is not None:
                    handle.remove()

    # The panel

    def _add_panel(self) -> None:
        gui, clip = self._client.gui, self._clip
        moves = clip.num_frames > 1
        tracks = [f"person {track}" for track, _ in clip.tracks()]

        time_line = gui.add_folder("Time", visible=moves)
        with time_line:
            self._frame = gui.add_slider("Frame", 0, max(1, clip.num_frames - 1), 1, 0)
            self._clock = gui.add_text("Time", "", disabled=True)
            self._playing = gui.add_checkbox("Play", moves)
            self._speed = gui.add_dropdown("Speed", tuple(_SPEEDS), initial_value="normal speed")
        view = gui.add_folder("View")
        with view:
            viewpoint = gui.add_button_group("From", ("outside", "camera", "above"))
            self._follow = gui.add_dropdown(
                "Follow", (_NOBODY, *tracks), initial_value=_NOBODY, visible=moves
            )
            self._distance = gui.add_slider(
                "Image at",
                0.1,
                round(self._far, 1),
                0.1,
                round(self._near, 1),
                hint="metres from the camera",
            )
        switches = gui.add_folder("Show")
        with switches:
            self._mesh = gui.add_checkbox("Mesh", True)
            self._skeleton = gui.add_checkbox("Skeleton", False)
            self._joints = gui.add_checkbox("Joints", False)
            self._names = gui.add_checkbox("Joint names", False)
            self._trails = gui.add_checkbox("Paths", True, visible=moves)
            self._image = gui.add_checkbox("Image", True, visible=not self._backdrops.problem)
            if self._backdrops.problem:
                gui.add_markdown(f"*No image: {self._backdrops.problem}.*")
        people = gui.add_folder("People", expand_by_default=len(tracks) <= 8)
        self._folders = [time_line, view, switches, people]

        @viewpoint.on_click
        def _(_: viser.GuiEvent) -> None:
            self.look_from(viewpoint.value)

        for handle in (self._frame, self._playing, self._speed, self._follow, self._distance, self._mesh,
                       self._skeleton, self._joints, self._names, self._trails, self._image):  # fmt: skip
            handle.on_update(self._on_change)

    def _on_change(self, _: object) -> None:
        self._wake.set()

    # The scene

    def _add_scene(self) -> None:
        scene, camera = self._client.scene, self._clip.camera
        scene.add_frame(self._name, show_axes=False, wxyz=quaternion(self._rotation), position=self._position)
        width, height = camera.size
        blank = np.full((2, 2, 3), 255, np.uint8)
        # One metre from the camera; its scale is its distance.
        self._plane = scene.add_image(
            f"{self._name}/image",
            blank,
            width / camera.focal[0],
            height / camera.focal[1],
            format="jpeg",
            cast_shadow=False,
            receive_shadow=False,
            visible=False,
        )
        corners = image_corners(self._clip)
        edges = np.stack([np.stack((np.zeros(3), c)) for c in corners])
        frame = np.stack((corners, np.roll(corners, -1, axis=0)), axis=1)
        self._frustum = scene.add_line_segments(
            f"{self._name}/frustum",
            np.concatenate((edges, frame)).astype(np.float32),
            np.array(_INK),
            thickness=1.5,
            thickness_units="screen",
        )
        self._ground: viser.GridHandle | None = None
        if np.isfinite(self._clip.ground).all():
            self._ground = scene.add_grid(
                "/ground",
                plane="xz",
                cell_size=0.5,
                section_size=1.0,
                cell_color=(222, 225, 230),
                section_color=(190, 196, 204),
                width=(size := 2.0 * np.ceil(2 * self._spread)),
                height=size,
                position=(round(self._center[0]), 0.0, round(self._center[2])),
                shadow_opacity=0.0,
            )

    def _add_people(self) -> list[_TrackHandles]:
        people: list[_TrackHandles] = []
        gui, scene = self._client.gui, self._client.scene
        for track, rows in self._clip.tracks():
            name, color = f"{self._name}/person_{track}", person_colors([track])[0]
            shape = rig(self._body, np.median(self._clip.betas[rows], axis=0))
            mesh = scene.add_mesh_skinned(
                f"{name}/mesh",
                shape.vertices,
                self._body.data.faces,
                bone_wxyzs=np.tile([1.0, 0, 0, 0], (24, 1)),
                bone_positions=shape.joints,
                skin_weights=shape.weights,
                color=color,
                cast_shadow=False,
                receive_shadow=False,
                visible=False,
            )
            skeleton = scene.add_line_segments(
                f"{name}/skeleton", np.zeros((len(_BONES), 2, 3), np.float32), color,
                thickness=4, thickness_units="screen", visible=False,
            )  # fmt: skip
            joints = scene.add_point_cloud(
                f"{name}/joints", np.zeros((24, 3), np.float32), np.array(_INK), point_size=0.035,
                point_shape="circle", precision="float32", visible=False,
            )  # fmt: skip
            with self._folders[-1]:
                shown = gui.add_checkbox(f"person {track}", True)
                rgb = gui.add_rgb("colour", (int(color[0]), int(color[1]), int(color[2])))
            shown.on_update(self._on_change)
            rgb.on_update(self._on_change)
            trail = self._add_trail(f"{name}/path", rows, color)
            people.append(_TrackHandles(track, trail, mesh, skeleton, joints, shown, rgb))
        return people

    def _add_trail(
        self, name: str, rows: NDArray[np.int64], color: NDArray[np.uint8]
    ) -> viser.LineSegmentsHandle | None:
        points, frames = self._pelvises(rows), self._clip.frames[rows]
        together = np.diff(frames) == 1
        if not together.any():
            return None
        segments = np.stack((points[:-1], points[1:]), axis=1)[together]
        return self._client.scene.add_line_segments(
            name, segments.astype(np.float32), color, thickness=1.5, thickness_units="screen"
        )

    def _pelvises(self, rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """(N, 3) in the camera frame."""
        with torch.inference_mode():
            rest = self._body.rest_joints(torch.from_numpy(self._clip.betas[rows]))[:, 0].numpy()
        pelvises: NDArray[np.float64] = (rest + self._clip.translation[rows]).astype(np.float64)
        return pelvises

    # Updates

    def _play(self) -> None:
        """Redraw after every change, and advance the time while playing."""
        times = self._clip.times
        # The last frame is shown as long as an average frame.
        length = float(times[-1]) + 1 / self._clip.fps
        now, last, frame = 0.0, time.monotonic(), -1
        while not self._closed:
            wait = None
            if int(self._frame.value) != frame:  # the user moved the slider
                frame = int(self._frame.value)
                now = float(times[frame])
            elapsed, last = time.monotonic() - last, time.monotonic()
            if self._playing.value and self._clip.num_frames > 1:
                speed = _SPEEDS[self._speed.value]
                now = (now + speed * elapsed) % length
                frame = int(np.searchsorted(times, now, side="right")) - 1
                following = times[frame + 1] if frame + 1 < len(times) else length
                wait = max((following - now) / speed, 1 / 60)
                self._frame.value = frame
            self._wake.clear()
            with self._client.atomic():
                self._draw()
            self._wake.wait(wait)
            if wait is None:  # paused, so that no time has passed
                last = time.monotonic()

    def _draw(self) -> None:
        """Update the scene from the controls."""
        frame, clip = int(self._frame.value), self._clip
        rows = clip.rows_of(frame)
        poses = bone_poses(
            self._body,
            *(torch.from_numpy(x[rows]) for x in (clip.betas, clip.pose, clip.translation)),
        )
        present = {int(track): i for i, track in enumerate(clip.track_ids[rows])}
        for person in self._people:
            self._draw_person(person, poses, present.get(person.track))
        self._follow_person(poses, present)
        distance = float(self._distance.value)
        self._frustum.scale = distance
        self._plane.scale = distance
        turn = self._turns[frame]
        self._plane.position = turn @ image_corners(clip).mean(axis=0) * distance
        set_changed(self._plane, wxyz=quaternion(turn))
        set_changed(self._frustum, wxyz=quaternion(turn))
        self._plane.visible = self._image.value and self._shown_image >= 0
        if frame != self._shown_frame:
            self._shown_frame = frame
            self._clock.value = f"{clip.times[frame]:.2f} of {clip.times[-1]:.2f} s"
            self._image_wanted.set()
        if self._image.value and self._shown_image != frame:
            self._image_wanted.set()

    def _draw_person(self, person: _TrackHandles, poses: BonePoses, row: int | None) -> None:
        shown, here = person.shown.value, person.shown.value and row is not None
        color = person.color.value
        inside = self._skeleton.value or self._joints.value
        set_changed(person.mesh, color=color, opacity=0.45 if inside else None)
        set_changed(person.skeleton, colors=color)
        person.mesh.visible = here and self._mesh.value
        person.skeleton.visible = here and self._skeleton.value
        person.joints.visible = here and self._joints.value
        if person.trail is not None:
            set_changed(person.trail, colors=color)
            person.trail.visible = shown and self._trails.value
        named = here and self._names.value
        if named and not person.names:
            person.names = [
                self._client.scene.add_label(
                    f"{self._name}/person_{person.track}/name_{k}",
                    name.replace("_", " "),
                    font_screen_scale=0.7,
                )
                for k, name in enumerate(_JOINTS.names)
            ]
        for label in person.names:
            label.visible = named
        if row is None:
            return
        wxyz, positions = poses.wxyz[row], poses.positions[row]
        if person.mesh.visible:
            set_bones(self._client, person.mesh, wxyz, positions)
        if person.skeleton.visible:
            person.skeleton.points = positions[_BONES].astype(np.float32)
        if person.joints.visible:
            person.joints.points = positions.astype(np.float32)
        if named:
            for label, position in zip(person.names, positions, strict=True):
                label.position = position

    def _follow_person(self, poses: BonePoses, present: dict[int, int]) -> None:
        """Move the viewpoint with the pelvis of the followed person."""
        name = self._follow.value
        row = None if name == _NOBODY else present.get(int(name.split()[-1]))
        if row is None:
            self._followed = None if name == _NOBODY else self._followed
            return
        pelvis = self._rotation @ poses.positions[row, 0] + self._position
        if self._followed is not None and self._followed[0] == name:
            camera = self._client.camera
            camera.position = camera.position + (pelvis - self._followed[1])
        self._followed = (name, pelvis)

    def _read_images(self) -> None:
        """Show the image of the current frame; frames passed in the meantime are never read."""
        while True:
            self._image_wanted.wait()
            self._image_wanted.clear()
            if self._closed:
                return
            frame = int(self._frame.value)
            if not self._image.value or frame == self._shown_image:
                continue
            image = self._backdrops(frame)
            if image is None:
                continue
            if image is not self._plane.image:
                self._plane.image = image
            first, self._shown_image = self._shown_image < 0, frame
            if first:
                self._wake.set()

    def look_from(self, viewpoint: str) -> None:
        """Move the client's camera: "outside", "above", or "camera", where the image was taken."""
        camera, center = self._client.camera, self._center
        with self._client.atomic():
            camera.up_direction = (0.0, 1.0, 0.0)
            if viewpoint == "camera":
                self._follow.value = _NOBODY
                self._distance.value = round(self._far, 1)
                camera.fov = fitting_fov(self._clip, camera.aspect)
                # The camera's own up: the world's is that of the ground.
                turn = self._turns[int(self._frame.value)]
                camera.up_direction = self._rotation @ turn @ np.array([0.0, -1.0, 0.0])
                axis = turn @ image_corners(self._clip).mean(axis=0)
                camera.position = self._position
                camera.look_at = self._position + self._rotation @ axis * self._far
                return
            directions = {"outside": (0.55, 0.35, 0.75), "above": (0.0, 1.0, 0.02)}
            direction = np.array(directions[viewpoint])
            camera.fov = _FOV
            self._distance.value = round(self._near, 1)
            narrow = max(1.0, 1.0 / camera.aspect)
            distance = narrow * self._spread / np.tan(_FOV / 2) * 1.15
            camera.position = center + direction / np.linalg.norm(direction) * distance
            camera.look_at = center


def image_corners(clip: Clip) -> NDArray[np.float64]:
    """The image corners at 1 m depth, (4, 3) in the camera frame, clockwise from the upper left.

    Pixel (0, 0) is the centre of the upper left pixel, so the image begins half a pixel before.
    """
    camera = clip.camera
    width, height = camera.size
    pixels = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
    rays = (pixels - camera.principal_point) / camera.focal
    return np.column_stack((rays, np.ones(4)))


def fitting_fov(clip: Clip, aspect: float) -> float:
    """The vertical field of view, radians, at which a window of an aspect (w / h) contains the image."""
    left_top, right_bottom = image_corners(clip)[[0, 2], :2]
    half_width, half_height = (right_bottom - left_top) / 2
    return float(2 * np.arctan(max(half_height, half_width / aspect)))


def set_changed(handle: viser.SceneNodeHandle, **properties: Any) -> None:
    """Set properties, sending only changed ones."""
    for name, value in properties.items():
        if not np.array_equal(getattr(handle, name), value):
            setattr(handle, name, value)


def set_bones(
    client: viser.ClientHandle,
    mesh: viser.MeshSkinnedHandle,
    wxyz: NDArray[np.float64],
    positions: NDArray[np.float64],
) -> None:
    """Pose the bones of a mesh: as `bone.wxyz = ...; bone.position = ...` for each bone, but faster.

    viser compares old and new values bone by bone, which for five people takes longer than a video frame; so
    this queues viser's private messages. The handles of the bones are not updated.
    """
    name, queue = mesh.name, client.scene._queue_scene_message
    for bone, (rotation, position) in enumerate(zip(wxyz.tolist(), positions.tolist(), strict=True)):
        queue(_messages.SetBoneOrientationMessage(name, bone, tuple(rotation)))
        queue(_messages.SetBonePositionMessage(name, bone, tuple(position)))
