"""One read-only view of archives and of folders: members by name, without unpacking anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from downloaders.folder_archive import FolderArchive
from downloaders.zip_archive import ZipArchive
from schemas.errors import ArchiveError

__all__ = ["ArchiveReader", "FolderArchive", "ZipArchive", "open_archive"]


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


def open_archive(path: Path) -> ArchiveReader:
    """Open the archive file at ``path`` by its suffix."""
    if path.suffix != ".zip":
        raise ArchiveError(
            f"{path} cannot be read at random", expected="a .zip file", got=repr(path.suffix)
        )
    return ZipArchive(path)
