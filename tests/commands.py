"""Commands run in this process."""

import sys

import pytest

from fullframe.cli import main as cli


def fullframe(*arguments: object) -> int:
    """Run the command in this process; returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fullframe", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    return int(exit_.value.code or 0)
