"""Brings one file over any transport: resumes, retries, changes mirrors, checks, publishes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from downloaders.base import Fetched, FetchRequest
from downloaders.content import HEAD_BYTES, wrong_content, wrong_head
from downloaders.expiry import link_expiry
from downloaders.host_limits import OVERALL, PER_HOST, HostLimits
from downloaders.part_file import PartFile, PartState
from downloaders.patience import KnownHosts, Patience, Say
from downloaders.pieces import LARGE_BYTES, PIECE_BYTES, PieceError, PieceSource, read_pieces
from downloaders.registry import open_transport, transport_name
from downloaders.transport import (
    FRESH_LINKS,
    Body,
    LinkExpiredError,
    Policy,
    TransientError,
    Transport,
    public_url,
)
from schemas.errors import DownloadError


class ResumingFetcher:
    """See ``Fetcher``. Threads may share one; they then share its connections.

    Parameters
    ----------
    connections
        At a time for one large file, when the server can begin anywhere in it.
    per_host, overall
        How many connections may be open to one host, and together.
    warn
        Called before each wait, with a line for people, from any thread.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        connections: int = 1,
        per_host: int = PER_HOST,
        overall: int = OVERALL,
        warn: Say = lambda _line: None,
    ) -> None:
        self._policy, self._warn = policy or Policy(), warn
        self.connections = connections
        self._transports: dict[str, Transport] = {}
        self._opening = threading.Lock()
        self._stopped = threading.Event()
        self._hosts = KnownHosts()
        self._limits = HostLimits(self._stopped, per_host=per_host, overall=overall)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for transport in self._transports.values():
            transport.close()

    def stop(self) -> None:
        """Make every running fetch raise ``KeyboardInterrupt`` soon; parts stay on disk."""
        self._stopped.set()

    def fetch(self, request: FetchRequest) -> Fetched:
        """Try the mirrors in order; see ``Fetcher.fetch``."""
        file = request.file
        reasons = []
        with PartFile(request.folder / file.name, file.checksum) as part:
            request.progress(part.size)
            for url in file.urls:
                try:
                    return self._from_mirror(url, request, part)
                except LinkExpiredError:
                    raise
                except DownloadError as error:
                    reasons.append(str(error))
        raise DownloadError(
            f"{file.name} could not be fetched: " + "; ".join(reasons),
            fix="Run the same command again, or give a mirror or a folder by --from.",
        )

    def _from_mirror(self, url: str, request: FetchRequest, part: PartFile) -> Fetched:
        connections = self.connections
        name = request.file.name
        patience = Patience(self._policy, self._hosts, url, name, part.size, self._warn)
        while True:
            _refuse_dead_link(url)
            try:
                self._transfer(url, request, part, connections)
                return _finish(url, request, part)
            except TransientError as error:
                if isinstance(error, PieceError):
                    connections = 1
                self._sleep(patience.wait_after(error, part.size))

    def _transfer(self, url: str, request: FetchRequest, part: PartFile, connections: int) -> None:
        """Bring what is missing. Only ``_finish`` decides whether the result is right."""
        start = part.size if _may_resume(url, request, part) else 0
        if start and start == _expected_size(request, part):
            return
        validator = part.state.validator if part.state and _same_source(url, part) else None
        transport = self._transport(url)
        with self._limits.slot(url), transport.open(url, start, validator) as body:
            self._hosts.answered(url)
            if body is None:
                part.restart(None)
                raise TransientError(f"{public_url(url)}: the file changed; starting again")
            chunks = _accepted(url, request, part, body, self._paced(url, body.chunks))
            several = connections > 1 and _may_split(request, part, body)
            _append(request, part, chunks, part.size + PIECE_BYTES if several else None)
        if several and body.total is not None:
            source = PieceSource(
                transport, url, body.validator, body.total, self._limits, self._policy, self._paced
            )
            part.joined = True
            _append(request, part, read_pieces(source, part.size, connections), None)
        if body.total is not None and part.size < body.total:
            raise TransientError(
                f"{public_url(url)}: the connection ended early",
                expected=f"{body.total} bytes",
                got=f"{part.size} bytes",
            )

    def _transport(self, url: str) -> Transport:
        name = transport_name(url)
        with self._opening:
            if name not in self._transports:
                self._transports[name] = open_transport(name, self._policy)
            return self._transports[name]

    def _paced(self, url: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass chunks on; raise when asked to stop, or when they trickle without end."""
        window = self._policy.read_timeout
        began, received = time.monotonic(), 0
        for chunk in chunks:
            yield chunk
            if self._stopped.is_set():
                raise KeyboardInterrupt
            received += len(chunk)
            if time.monotonic() - began < window:
                continue
            if received < window * self._policy.slowest_rate:
                raise TransientError(
                    f"{public_url(url)}: stalled, {received} bytes in {window:g} seconds"
                )
            began, received = time.monotonic(), 0

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise KeyboardInterrupt


def _published_size(request: FetchRequest) -> int | None:
    return None if request.any_content else request.file.bytes


def _expected_size(request: FetchRequest, part: PartFile) -> int | None:
    published = _published_size(request)
    if published is not None:
        return published
    return part.state.total if part.state else None


def _may_resume(url: str, request: FetchRequest, part: PartFile) -> bool:
    """Whether a wrong join of old and new bytes would be noticed, and the part is not too long.

    Either the server proves that it has the same file, or the published checksum will judge.
    """
    expected = _expected_size(request, part)
    if expected is not None and part.size > expected:
        return False
    if request.file.checksum is not None and not request.any_content:
        return True
    return _same_source(url, part) and part.state is not None and part.state.validator is not None


def _same_source(url: str, part: PartFile) -> bool:
    """Whether ``url`` may be compared by validator with what the part came from.

    Signed links of one name differ from list to list, and lead to the same file.
    """
    return part.state is not None and (
        part.state.url == public_url(url) or link_expiry(url) is not None
    )


def _may_split(request: FetchRequest, part: PartFile, body: Body) -> bool:
    """Whether several connections are worth it, and a wrong join would be noticed."""
    if not body.ranges or body.total is None or body.total - part.size < LARGE_BYTES:
        return False
    judged = request.file.checksum is not None and not request.any_content
    return judged or body.validator is not None


def _append(
    request: FetchRequest, part: PartFile, chunks: Iterable[bytes], until: int | None
) -> None:
    for chunk in chunks:
        part.append(chunk)
        request.progress(part.size)
        if until is not None and part.size >= until:
            return


def _refuse_dead_link(url: str) -> None:
    ends = link_expiry(url)
    if ends is not None and ends <= datetime.now(UTC):
        raise LinkExpiredError(
            f"{public_url(url)}: the link ended {ends:%Y-%m-%d %H:%M} UTC. {FRESH_LINKS}"
        )


def _accepted(
    url: str, request: FetchRequest, part: PartFile, body: Body, chunks: Iterator[bytes]
) -> Iterator[bytes]:
    """Line the part up with ``body`` and return the chunks to append; or refuse the body.

    A body that is refused leaves the part as it is: an error page must not cost the bytes so far.
    """
    expected = _expected_size(request, part) if body.start else _published_size(request)
    other_size = None not in (expected, body.total) and body.total != expected
    if body.start:
        if other_size:
            part.restart(None)
            raise TransientError(f"{public_url(url)}: the file changed; starting again")
        part.joined = True
    else:
        head = _head(chunks)
        found = wrong_head(head, request.file.kind)
        if other_size or found is not None:
            raise DownloadError(
                f"{public_url(url)} is not the published {request.file.name}",
                expected=f"a {request.file.kind} file"
                + ("" if expected is None else f" of {expected} bytes"),
                got=found or f"{body.total} bytes",
            )
        part.restart(PartState(url=public_url(url), validator=body.validator, total=body.total))
        chunks = itertools.chain((head,), chunks)
    part.expect(body.total if expected is None else expected)
    return chunks


def _head(chunks: Iterator[bytes]) -> bytes:
    """Return the first bytes, enough to tell what they are unless the stream is shorter."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return head


def _finish(url: str, request: FetchRequest, part: PartFile) -> Fetched:
    wrong = wrong_content(part.path, request.file, part.digests, request.any_content)
    if wrong is not None:
        joined = part.joined
        part.restart(None)
        if joined:
            raise TransientError(f"{public_url(url)}: {wrong}, after resuming; starting again")
        raise DownloadError(f"{public_url(url)}: {wrong}")
    part.publish()
    return Fetched(
        name=request.file.name,
        url=public_url(url),
        bytes=part.size,
        sha256=part.digests.sha256,
        verified=part.digests.verified,
        resumed=part.resumed_at > 0,
    )
