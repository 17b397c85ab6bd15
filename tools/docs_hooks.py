"""What `make docs` puts into the pages: the help of every command, as the command prints it."""

import os
import re
import subprocess
import sys
from typing import Any

_PLACEHOLDER = re.compile(r"^\{\{ help (.*?)\}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each line `{{ help COMMAND }}` by what `fullframe COMMAND --help` prints."""
    return _PLACEHOLDER.sub(lambda match: f"```text\n{command_help(match[1].split())}\n```", markdown)


def command_help(command: list[str]) -> str:
    """The help of a subcommand, without colours and 80 characters wide."""
    environment = os.environ | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    call = [sys.executable, "-m", "fullframe", *command, "--help"]
    return subprocess.run(call, check=True, capture_output=True, text=True, env=environment).stdout.strip()
