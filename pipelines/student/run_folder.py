"""Writing into the folder of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import StorageError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a refused write into one line that names the file and what to do.

    PyTorch reports a full disk as a ``RuntimeError``.

    Raises
    ------
    StorageError
        The block could not write ``path``.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, RuntimeError) as cause:
        reason = getattr(cause, "strerror", None) or str(cause).partition("\n")[0]
        raise StorageError(
            f"cannot write {path}: {reason}",
            fix="Free space there or choose another --out; an earlier checkpoint is still good.",
        ) from cause
