"""Archives inside an archive, as one archive.

The members of an inner archive ``a/b.zip`` are named ``a/b/…``: as if it had been unpacked into a
folder of its name. Its own name is no member any more. Archives in inner archives stay members.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from downloaders.archive_reader import ArchiveReader, PackedArchive
from downloaders.byte_source import ByteSource, FileBytes, member_cache
from downloaders.disk import disk_errors, require_space
from downloaders.member_names import check_unique, no_member
from downloaders.part_file import link_new
from schemas.errors import ArchiveError, ConflictError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_MAX_INNER = 256
_BLOCK = 1 << 20


class NestedArchive:
    """The members of ``outer``, and of the archives ``inner`` to it; see ``ArchiveReader``.

    Raises
    ------
    ArchiveError
        Two members get the same name.
    """

    def __init__(self, outer: ArchiveReader, inner: Mapping[str, ArchiveReader]) -> None:
        self._outer, self._inner, self.name = outer, dict(inner), outer.name
        self._places = {
            member: (outer, member) for member in outer.members() if member not in self._inner
        }
        names = list(self._places)
        for member, archive in self._inner.items():
            folder = inner_folder(member)
            names += (f"{folder}/{name}" for name in archive.members())
            self._places.update((f"{folder}/{name}", (archive, name)) for name in archive.members())
        check_unique(self.name, names)
        self._names = tuple(sorted(names))

    def __reduce__(self) -> tuple[object, ...]:
        return NestedArchive, (self._outer, self._inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """See ``ArchiveReader.close``."""
        for archive in (*self._inner.values(), self._outer):
            archive.close()

    def members(self) -> Sequence[str]:
        """See ``ArchiveReader.members``."""
        return self._names

    def size(self, member: str) -> int:
        """See ``ArchiveReader.size``."""
        archive, name = self._find(member)
        return archive.size(name)

    def read(self, member: str) -> bytes:
        """See ``ArchiveReader.read``."""
        archive, name = self._find(member)
        return archive.read(name)

    def open(self, member: str) -> BinaryIO:
        """See ``ArchiveReader.open``."""
        archive, name = self._find(member)
        return archive.open(name)

    def _find(self, member: str) -> tuple[ArchiveReader, str]:
        try:
            return self._places[member]
        except KeyError:
            raise no_member(self.name, member) from None


def inner_folder(member: str) -> str:
    """Return the folder in which the members of the inner archive ``member`` appear."""
    for suffix in SUFFIXES:
        if member.lower().endswith(suffix):
            return member[: -len(suffix)]
    return member


def inner_archives(archive: ArchiveReader) -> tuple[str, ...]:
    """Return the members that are archives by their names; hidden ones do not count.

    Raises
    ------
    ArchiveError
        They are so many that a person should look at them.
    """
    found = tuple(
        member
        for member in archive.members()
        if inner_folder(member) != member and not member.rpartition("/")[2].startswith(".")
    )
    if len(found) > _MAX_INNER:
        raise ArchiveError(
            f"{archive.name} holds {len(found)} archives",
            expected=f"{_MAX_INNER} at most",
            fix="Unpack it, and give the folder by --from.",
        )
    return found


def inner_bytes(outer: PackedArchive, member: str) -> ByteSource:
    """Return the bytes of an inner archive: in place, or from a copy where it is compressed.

    The copy lies beside the outer archive, is made once, and may be deleted when nobody reads it.
    """
    in_place = outer.member_bytes(member)
    if in_place is not None:
        return in_place
    cache = member_cache(outer.source, member)
    version = outer.source.identity[:12]
    copy = cache.with_name(f"{cache.name}.{version}.inner")
    if not copy.exists():
        require_space(copy.parent, outer.size(member), f"{member}, unpacked from {outer.name},")
        with disk_errors(copy):
            _copy(outer, member, copy)
    return FileBytes(copy)


def _copy(outer: ArchiveReader, member: str, copy: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=copy.name, suffix=".tmp", dir=copy.parent)
    try:
        with os.fdopen(descriptor, "wb") as file, outer.open(member) as stream:
            shutil.copyfileobj(stream, file, _BLOCK)
            file.flush()
            os.fsync(file.fileno())
        # Another process may have made the same copy meanwhile.
        with contextlib.suppress(ConflictError):
            link_new(Path(temporary), copy)
    finally:
        Path(temporary).unlink(missing_ok=True)
