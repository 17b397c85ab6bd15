"""Temporary folders of servers, of which nothing remains even if the server is killed."""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

_LOCK = ".lock"
_STARTING_SECONDS = 60


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder for uploads, deleted at the end; those of killed servers are deleted first.

    A server locks its folder. The lock ends with its process.

    Args:
        prefix: of the folder's name; the servers of one kind have the same.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError, filelock.Timeout):
            state = old.lstat()
            ours = stat.S_ISDIR(state.st_mode) and (os.name == "nt" or state.st_uid == os.getuid())
            file = old / _LOCK
            # Without a lock file, a server may just be starting.
            if ours and (file.exists() or time.time() - state.st_mtime > _STARTING_SECONDS):
                with filelock.FileLock(file, timeout=0):
                    shutil.rmtree(old, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name,
        filelock.FileLock(Path(name) / _LOCK),
    ):
        yield Path(name)
