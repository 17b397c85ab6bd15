"""A real browser for tests, and a service of ours for it to look at."""

import shutil
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# WebGL in software, and none of the browser's own errands.
FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """A headless browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium) -> Iterator:
    """A tab of its own, of 700 x 400 px."""
    context = chromium.new_context(viewport={"width": 700, "height": 400})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


class Service:
    """Runs one of the two services in a thread until `stop`, as until Ctrl-C."""

    def __init__(self, monkeypatch, module, serve, *args):
        from fullframe.view.server import address  # needs the extra view

        self._ended, addresses = threading.Event(), []

        def wait(server, ready):
            ready(address(server))
            self._ended.wait()

        monkeypatch.setattr(module, "wait_for_interrupt", wait)
        args = (*args, "127.0.0.1", 9500, addresses.append)
        self._thread = threading.Thread(target=serve, args=args)
        self._thread.start()
        wait_until(lambda: addresses)
        self.url = addresses[0]

    def stop(self):
        self._ended.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def service(monkeypatch):
    services = []

    def start(*args) -> str:
        services.append(Service(monkeypatch, *args))
        return services[-1].url

    yield start
    for each in services:
        each.stop()


def wait_until(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def repeat_until(condition, action, times: int = 4) -> None:
    """Do with the mouse what is to have an effect, again where a busy browser has lost it."""
    for left in reversed(range(times)):
        action()
        try:
            wait_until(condition, 15)
            return
        except AssertionError:
            if not left:
                raise


def see(page, condition, canvas=None, seconds: float = 60) -> None:
    """Look at the scene, (H, W, 3), again and again until it is as wanted."""
    end = time.monotonic() + seconds
    canvas = page.locator("canvas").first if canvas is None else canvas
    canvas.wait_for()
    while True:
        canvas.evaluate("canvas => canvas.scrollIntoView()")
        box = canvas.bounding_box()
        png = np.frombuffer(page.screenshot(clip=box, timeout=60_000), np.uint8)
        image = cv2.cvtColor(cv2.imdecode(png, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        try:
            return condition(image)
        except AssertionError:
            if time.monotonic() > end:
                raise
            page.wait_for_timeout(300)


def click(locator) -> None:
    """Without Playwright's wait for two frames, which take long where WebGL runs in software."""
    locator.evaluate("element => element.click()")
    _settle(locator.page)


def press(locator, key: str) -> None:
    locator.press(key)
    _settle(locator.page)


def _settle(page) -> None:
    """viser's page sends one message per 50 ms and forgets all but the last of those in between.

    By the page's own clock, which stands still while it draws.
    """
    page.evaluate("() => new Promise(done => setTimeout(done, 200))")


def hide_notes(page) -> None:
    """viser's warning that WebGL runs in software lies over the scene."""
    page.add_style_tag(content=".mantine-Notifications-root { display: none !important }")
