"""What every archive owes its readers."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from downloaders.byte_source import ByteSource


class ArchiveReader(Protocol):
    """Members at random, for any number of threads; pickling reopens it in the other process.

    Member names are relative POSIX paths without ``.`` and ``..``, so they are safe to join.
    Everything that is wrong with an archive raises ``ArchiveError``.
    """

    @property
    def name(self) -> str:
        """The published file that this is, or stands in for."""
        ...

    def members(self) -> Sequence[str]:
        """Return the names of all files, sorted; folders are not listed."""
        ...

    def size(self, member: str) -> int:
        """Return the number of bytes that ``read`` gives."""
        ...

    def read(self, member: str) -> bytes:
        """Return the whole member, checked against what the archive says of it."""
        ...

    def open(self, member: str) -> BinaryIO:
        """Open the member as a stream, checked like ``read`` when it is read to its end."""
        ...

    def close(self) -> None:
        """Give back the descriptor. May be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class PackedArchive(ArchiveReader, Protocol):
    """An archive that is one run of bytes, and not a folder."""

    @property
    def source(self) -> ByteSource:
        """The bytes of the archive."""
        ...

    def member_bytes(self, member: str) -> ByteSource | None:
        """Return the member as bytes at random, or None where it is compressed by itself."""
        ...
