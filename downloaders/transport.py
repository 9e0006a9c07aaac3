"""What a transport is: it opens a URL at an offset and says what it found there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from schemas.errors import DownloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient a download is. Times are in seconds."""

    retries: int = 6
    """Attempts after the first, per mirror, without ``progress_bytes`` of progress between."""
    name_retries: int = 1
    """As ``retries``, when the host's name is not known and the host has never answered."""
    progress_bytes: int = 1 << 20
    """An attempt that gets this much further earns a fresh set of retries."""
    first_wait: float = 1.0
    """Wait before the first retry; doubles each time."""
    longest_wait: float = 120.0
    """Bound of every wait, also of one that the server asks for by Retry-After."""
    connect_timeout: float = 20.0
    read_timeout: float = 60.0
    slowest_rate: int = 1024
    """Bytes per second; slower than this over ``read_timeout`` counts as stalled."""

    def wait(self, attempt: int, asked: float | None) -> float:
        """Return how long to wait before retry number ``attempt``, from 1."""
        doubled = self.first_wait * 2.0 ** (attempt - 1)
        return min(self.longest_wait, max(doubled, asked or 0.0))


FRESH_LINKS = "Get a fresh list of links and run the same command with it: unfinished files go on"


class LinkExpiredError(DownloadError):
    """A signed link that no longer opens: only a fresh one helps."""


class TransientError(DownloadError):
    """A failure that may pass by itself. Never leaves the fetcher: it retries, then gives up."""

    retry_after: float | None = None
    """Seconds that the server asks to wait."""


class UnknownHostError(TransientError):
    """The host's name could not be resolved: there is no such host, or no network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The open answer of a server."""

    start: int
    """Offset in the file of the first byte of ``chunks``; 0 when the server cannot resume."""
    total: int | None
    """Size of the whole file; None when the server does not say."""
    validator: str | None
    """Changes when the file changes, and may be sent back as If-Range; None if there is none."""
    ranges: bool = False
    """Whether the server says that it can begin anywhere in the file."""
    chunks: Iterator[bytes]
    """Raises ``TransientError`` when the connection breaks."""


class Transport(Protocol):
    """Opens URLs of its schemes. Threads may share one."""

    def open(
        self, url: str, start: int, validator: str | None, stop: int | None = None
    ) -> AbstractContextManager[Body | None]:
        """Open ``url`` at byte ``start``, up to byte ``stop`` if given and ``start`` is not 0.

        The body starts at 0 instead when the server cannot resume, or when the file is no longer
        the one that ``validator`` names. None when the file ends before or at ``start``.

        Raises
        ------
        TransientError
            It may work later.
        DownloadError
            It will not, at this URL.
        """
        ...

    def close(self) -> None:
        """Give back all connections."""
        ...


def public_url(url: str) -> str:
    """Return ``url`` without user name, password, query or fragment: those may be secrets."""
    # By hand: urlsplit raises on a malformed URL, and this is also used to report one.
    scheme, _, rest = url.partition("://")
    host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def range_header(start: int, stop: int | None) -> str:
    """Return the value of ``Range`` for the bytes from ``start`` to before ``stop``."""
    return f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"
