"""Folders of this machine for the time of a run. Each is locked by the process that made it.

A killed process cannot remove its own; the kernel drops its lock, so that others know.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_PREFIX = "samdistill-"
_LOCK = ".lock"
_YOUNG_SECONDS = 60
"""Longer than a living process needs from making a folder to locking it."""


class ScratchFolder:
    """A folder that goes at the end of the block.

    Parameters
    ----------
    kind
        A part of its name.
    short
        Below /tmp if there is one, whatever TMPDIR says: paths of sockets end at 107 bytes.
    """

    def __init__(self, kind: str, *, short: bool = False) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-", dir=_parents(short)[0]))
        self._lock = (self.path / _LOCK).open("xb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def scratch_path(kind: str, *, short: bool = False) -> Path:
    """Return a path as long as that of such a folder; nothing is made."""
    return _parents(short)[0] / f"{_PREFIX}{kind}-{'x' * 8}"


def abandoned_folders() -> Iterator[Path]:
    """Yield the folders on this machine that killed processes of this user have left."""
    for parent in dict.fromkeys(_parents(short=True) + _parents(short=False)):
        for path in sorted(parent.glob(f"{_PREFIX}*")):
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    yield path


def remove_folder(path: Path) -> None:
    """Remove an abandoned folder."""
    shutil.rmtree(path, ignore_errors=True)


def _parents(short: bool) -> list[Path]:
    usual = Path(tempfile.gettempdir())
    return [Path("/tmp"), usual] if short and Path("/tmp").is_dir() else [usual]


def _is_abandoned(path: Path) -> bool:
    status = path.lstat()
    if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_SECONDS:
        return False
    with (path / _LOCK).open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
