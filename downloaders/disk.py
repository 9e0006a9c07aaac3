"""Room on the local disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import StorageError


def existing_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def free_bytes(folder: Path) -> int:
    """Return what an ordinary user may still write where ``folder`` is or will be."""
    status = os.statvfs(existing_folder(folder))
    return status.f_bavail * status.f_frsize


def require_space(
    folder: Path,
    needed: int,
    what: str,
    fix: str = "Free some space, choose fewer splits, or give another folder.",
) -> None:
    """Raise ``StorageError`` unless ``needed`` more bytes fit into ``folder``."""
    free = free_bytes(folder)
    if needed > free:
        raise StorageError(
            f"{what} does not fit into {folder}",
            expected=f"{needed} bytes free",
            got=f"{free} bytes free",
            fix=fix,
        )


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a read-only or forbidden folder into ``StorageError``."""
    try:
        yield
    except OSError as cause:
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"the disk is full; {path} stays as far as it got"
            fix = "Free some space, then run the same command."
        elif cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what = f"not allowed to write {path}"
            fix = "Allow it, or give another folder."
        else:
            raise
        raise StorageError(what, got=cause.strerror, fix=fix) from cause
