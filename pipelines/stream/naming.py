"""Errors that say which sample they stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import IncompleteError, SamdistillError


@contextmanager
def named(what: str) -> Iterator[None]:
    """Put ``what``, as ``sample KEY``, before any error of the block."""
    try:
        yield
    except SamdistillError as cause:
        raise type(cause)(
            f"{what}: {cause.what}", expected=cause.expected, got=cause.got, fix=cause.fix
        ) from cause
    except FileNotFoundError as cause:
        raise IncompleteError(
            f"{what}: a published file is missing: {cause}", fix="Copy the root whole."
        ) from cause
