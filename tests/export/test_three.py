"""The animated GLB in a real viewer: three.js in headless Chromium.

Needs Chromium on the PATH, playwright, and FULLFRAME_THREE, the folder of the npm package three.
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
from fullframe.geometry.camera import Camera
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
            return str(three / path[7:]) if path.startswith("/three/") else super().translate_path(path)

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "index.html").write_text(PAGE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.url_of_server = f"http://127.0.0.1:{server.server_port}/index.html"
        yield page
        browser.close()
    server.shutdown()
    server.server_close()


def test_three_shows_what_the_overlay_shows(make_clip, body, tmp_path, page):
    clip = replace(make_clip(), camera=Camera.from_focal(450, (WIDTH, HEIGHT)))
    write_clip_glb(clip, body, tmp_path / "clip.glb")
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page.url_of_server)
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
