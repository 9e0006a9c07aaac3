"""The rest of one large file by several connections, given back in order.

Pieces wait in memory until all before them are written. So the part on disk has no holes: it
resumes, is hashed and may be killed like one that a single connection brought.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from downloaders.host_limits import HostLimits
from downloaders.transport import Policy, TransientError, Transport, public_url

LARGE_BYTES = 256 << 20
PIECE_BYTES = 16 << 20
_PIECES_PER_CONNECTION = 2


class PieceError(TransientError):
    """Several connections do not work here; one may."""


@dataclass(frozen=True, slots=True)
class PieceSource:
    """One file at one server, and the patience with it."""

    transport: Transport
    url: str
    validator: str | None
    total: int
    limits: HostLimits
    policy: Policy
    paced: Callable[[str, Iterator[bytes]], Iterator[bytes]]
    """Passes chunks on; raises when they stall or the run is stopped."""


@dataclass(slots=True)
class _Piece:
    start: int
    stop: int
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


def read_pieces(source: PieceSource, start: int, connections: int) -> Iterator[bytes]:
    """Yield the bytes from ``start`` to the end, in order.

    Raises
    ------
    PieceError
        A piece could not be had; those before it were given.
    """
    todo: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
    abandoned = threading.Event()
    for _ in range(connections):
        # Daemons: after Ctrl-C nobody waits for one that hangs in a read.
        threading.Thread(
            target=_work, args=(source, todo, abandoned), name="piece", daemon=True
        ).start()
    window: deque[_Piece] = deque()
    ahead = start
    try:
        while start < source.total:
            while ahead < source.total and len(window) < connections * _PIECES_PER_CONNECTION:
                piece = _Piece(ahead, min(ahead + PIECE_BYTES, source.total))
                window.append(piece)
                todo.put(piece)
                ahead = piece.stop
            piece = window.popleft()
            piece.done.wait()
            yield from piece.chunks
            if piece.error is not None:
                raise piece.error
            start = piece.stop
    finally:
        abandoned.set()
        for _ in range(connections):
            todo.put(None)


def _work(
    source: PieceSource, todo: queue.SimpleQueue[_Piece | None], abandoned: threading.Event
) -> None:
    while (piece := todo.get()) is not None:
        try:
            if not abandoned.is_set():
                _fill(source, piece, abandoned)
        except BaseException as error:
            # It belongs to the thread that waits for this piece.
            piece.error = error
        finally:
            piece.done.set()


def _fill(source: PieceSource, piece: _Piece, abandoned: threading.Event) -> None:
    attempt = 0
    while piece.size < piece.stop - piece.start and not abandoned.is_set():
        before = piece.size
        try:
            _read_more(source, piece, abandoned)
        except PieceError:
            raise
        except TransientError as error:
            attempt = 1 if piece.size > before else attempt + 1
            if attempt > source.policy.retries:
                raise PieceError(str(error)) from error
            abandoned.wait(source.policy.wait(attempt, error.retry_after))


def _read_more(source: PieceSource, piece: _Piece, abandoned: threading.Event) -> None:
    start, url = piece.start + piece.size, source.url
    with (
        source.limits.slot(url),
        source.transport.open(url, start, source.validator, piece.stop) as body,
    ):
        if body is None or body.start != start or body.total not in (None, source.total):
            raise PieceError(f"{public_url(url)}: the server does not serve this range alike")
        for chunk in source.paced(url, body.chunks):
            wanted = chunk[: piece.stop - piece.start - piece.size]
            piece.chunks.append(wanted)
            piece.size += len(wanted)
            if abandoned.is_set() or len(wanted) < len(chunk):
                return
    if piece.size < piece.stop - piece.start:
        raise TransientError(f"{public_url(url)}: the connection ended early")
