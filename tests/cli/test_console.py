import contextlib
import io
import logging
import signal

import pytest
from rich.console import Console

from fullframe.cli import console, main
from fullframe.cli.console import UsageError, show_log, show_progress, usage_errors


@pytest.fixture
def screen(monkeypatch):
    recorder = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "console", recorder)
    return recorder.file


def test_stages_of_progress_follow_one_another_in_one_bar(screen):
    with show_progress() as progress:
        progress("reading", 1, None)
        progress("reading", 3, 3)
        progress("writing", 1, 2)
    assert "writing" in screen.getvalue() and "1/2" in screen.getvalue()


def test_no_progress_is_shown_when_disabled(screen):
    with show_progress(disable=True) as progress:
        progress("reading", 1, 3)
    assert "reading" not in screen.getvalue()


def test_log_messages_of_the_library_are_printed(screen, monkeypatch):
    logger = logging.getLogger("fullframe")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    show_log()
    logging.getLogger("fullframe.train.loop").info("step [1]")
    logging.getLogger("fullframe.train.loop").warning("no photos")
    assert screen.getvalue().splitlines() == ["step [1]", "warning no photos"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("bad focal length"), "bad focal length"),
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), "a.jpg: no such file"),
        (FileNotFoundError("b: no such file or folder"), "b: no such file or folder"),
    ],
)
def test_errors_of_the_input_become_usage_errors(error, message):
    with pytest.raises(UsageError, match=f"^{message}$"), usage_errors():
        raise error


def test_errors_of_the_program_are_not_hidden():
    with pytest.raises(TypeError), usage_errors():
        raise TypeError("a bug")


@pytest.fixture
def remembered(monkeypatch):
    """A terminal's Ctrl-C, whose handler is put back; jobs in the background are started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    console.remember_interrupts()
    yield
    signal.signal(signal.SIGINT, before)
    console._interrupted.clear()


def swallow():
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_that_a_package_swallows_during_import(screen, remembered):
    with pytest.raises(KeyboardInterrupt), console.loading():
        swallow()
    with console.loading():  # printed once
        pass
    swallow()
    with pytest.raises(KeyboardInterrupt), console.Interrupt("stopping"):
        pytest.fail("it was interrupted before")
    with show_progress() as progress:
        swallow()
        with pytest.raises(KeyboardInterrupt):
            progress("reading", 1, 3)


def test_ctrl_c_that_a_package_turns_into_another_error(screen, remembered, monkeypatch):
    def load(**_: object) -> int:
        swallow()
        raise ImportError("numpy failed to import")

    monkeypatch.setattr(main.tyro.extras, "subcommand_cli_from_dict", lambda *_, **__: load())
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130 and "interrupted" in screen.getvalue()


def test_an_ignored_ctrl_c_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    console.remember_interrupts()
    assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN
