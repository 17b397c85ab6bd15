"""The animated GLB in a real viewer: three.js in headless Chromium; VRM and VRMA in three-vrm.

Needs Chromium on the PATH, playwright, and FULLFRAME_THREE, the folder of the npm package three; for VRM the
packages @pixiv/three-vrm and @pixiv/three-vrm-animation beside it.
"""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from fullframe.export.gltf import write_clip_glb
from fullframe.export.rigs import RIGS
from fullframe.export.tracks import joints
from fullframe.geometry.camera import Camera
from fullframe.geometry.world import level_frame
from fullframe.render.overlay import overlay

WIDTH, HEIGHT = 640, 360
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]
PAGE = """<body style="margin:0; overflow:hidden"><script type="importmap">{"imports": {
  "three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
import * as THREE from "three";
import {GLTFLoader} from "three/addons/loaders/GLTFLoader.js";
const renderer = new THREE.WebGLRenderer({preserveDrawingBuffer: true});
renderer.setSize(innerWidth, innerHeight);
document.body.append(renderer.domElement);
const file = await new GLTFLoader().loadAsync("/clip.glb");
const scene = new THREE.Scene();
scene.add(file.scene, new THREE.HemisphereLight(0xffffff, 0xffffff, 3));
scene.traverse(thing => thing.frustumCulled = false);
const mixer = new THREE.AnimationMixer(file.scene);
const action = mixer.clipAction(file.animations[0]);
action.setLoop(THREE.LoopOnce);
action.clampWhenFinished = true;
action.play();
window.show = time => { mixer.setTime(time); renderer.render(scene, file.cameras[0]); };
document.title = "ready";
</script>"""


VRM_PAGE = """<script type="importmap">{"imports": {
  "three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/",
  "@pixiv/three-vrm": "/pixiv/three-vrm/lib/three-vrm.module.js",
  "@pixiv/three-vrm-animation": "/pixiv/three-vrm-animation/lib/three-vrm-animation.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import {GLTFLoader} from "three/addons/loaders/GLTFLoader.js";
import {VRMLoaderPlugin} from "@pixiv/three-vrm";
import {VRMAnimationLoaderPlugin, createVRMAnimationClip} from "@pixiv/three-vrm-animation";
const loader = new GLTFLoader();
loader.register(parser => new VRMLoaderPlugin(parser));
loader.register(parser => new VRMAnimationLoaderPlugin(parser));
const vrm = (await loader.loadAsync("/clip_4.vrm")).userData.vrm;
const other = (await loader.loadAsync("/clip_4.vrma")).userData.vrmAnimations[0];
const mixer = new THREE.AnimationMixer(vrm.scene);
const action = mixer.clipAction(createVRMAnimationClip(other, vrm));
action.setLoop(THREE.LoopOnce);
action.clampWhenFinished = true;
action.play();
window.places = (time, bones) => {
  mixer.setTime(time);
  vrm.update(0);
  vrm.scene.updateMatrixWorld(true);
  return bones.map(bone => vrm.humanoid.getRawBoneNode(bone).getWorldPosition(new THREE.Vector3()).toArray());
};
document.title = "ready " + vrm.meta.metaVersion;
</script>"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[object]:
    """An empty page beside the file clip.glb in tmp_path; its function show(time) draws it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    three = Path(os.environ.get("FULLFRAME_THREE", ""))
    if chromium is None:
        pytest.skip("needs Chromium on the PATH")
    if not (three / "build/three.module.js").is_file():
        pytest.skip("needs three.js: set FULLFRAME_THREE to the folder node_modules/three")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            if path.startswith("/pixiv/"):
                return str(three.parent / "@pixiv" / path[7:])
            return str(three / path[7:]) if path.startswith("/three/") else super().translate_path(path)

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "vrm.html").write_text(VRM_PAGE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.three, page.server = three, f"http://127.0.0.1:{server.server_port}"
        yield page
        browser.close()
    server.shutdown()
    server.server_close()


def test_three_shows_what_the_overlay_shows(make_clip, body, tmp_path, page):
    clip = replace(make_clip(), camera=Camera.from_focal(450, (WIDTH, HEIGHT)))
    write_clip_glb(clip, body, tmp_path / "clip.glb")
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{page.server}/index.html")
    page.wait_for_function("document.title == 'ready'", timeout=60_000)
    for frame, number in ((0, 1), (3, 2), (6, 1), (11, 2)):
        page.evaluate(f"show({clip.times[frame]} + 1e-4)")
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        people = clip.people(frame, body)
        assert len(people) == number
        drawn = overlay(np.zeros((HEIGHT, WIDTH, 3), np.uint8), people)
        found, wanted = picture.max(2) > 0, drawn.max(2) > 0
        # Nearly all pixels are the same: the overlay also draws those that a body covers in part.
        assert (found & wanted).sum() > 0.9 * (found | wanted).sum()
        # Everybody wears their own colour.
        both = found & wanted
        near = np.abs(picture[both].astype(float) - drawn[both]).mean()
        far = np.abs(picture[both][:, [2, 0, 1]].astype(float) - drawn[both]).mean()
        assert near < far
    assert not errors


def test_three_vrm_moves_an_avatar_by_its_vrma(make_clip, body, tmp_path, page):
    """What a VRM program does: bones by the extension, motion of one file on the avatar of the other."""
    if not (page.three.parent / "@pixiv/three-vrm-animation").is_dir():
        pytest.skip("needs @pixiv/three-vrm and @pixiv/three-vrm-animation beside three.js")
    clip = make_clip()
    write_clip_glb(clip, body, tmp_path / "clip.glb", "vrm")
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{page.server}/vrm.html")
    page.wait_for_function("document.title == 'ready 1'", timeout=60_000)
    level = level_frame(clip.ground)
    wanted = joints(clip, body) @ level.rotation.T + level.origin
    bones = list(RIGS["vrm"].bones)
    for frame in (0, 5, 11):
        found = page.evaluate("([time, bones]) => places(time, bones)", [clip.times[frame], bones])
        row = (clip.frames == frame) & (clip.track_ids == 4)
        np.testing.assert_allclose(found, wanted[row][0], atol=2e-3)
    assert not errors
