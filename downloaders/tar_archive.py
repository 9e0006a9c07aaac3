"""Random access to the members of a tar file by an index that is made once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

import msgspec

from downloaders.archive_index import load_index, save_index
from downloaders.byte_source import ByteSource, ByteStream, SliceBytes, damaged
from downloaders.member_names import check_member_name, no_member
from downloaders.tar_headers import TarEntry, read_entries
from schemas.errors import ArchiveError

INDEX_SUFFIX = ".index"
_BLOCK = 1 << 20
_MAX_MEMBERS = 20_000_000
_FILE, _HARD_LINK, _FOLDER = "0", "1", "5"
_REFUSED = {
    "2": "a symbolic link",
    "3": "a character device",
    "4": "a block device",
    "6": "a pipe",
    "S": "a sparse file",
    "M": "the rest of a file that began in another volume",
}


class _Place(NamedTuple):
    offset: int
    size: int


class _TarIndex(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    members: dict[str, _Place]


class TarArchive:
    """The members of the tar file that ``source`` holds; see ``ArchiveReader``.

    Of several members of one name the last counts, as ``tar`` itself has it: that is how it
    replaces files. A leading ``./`` is left out of names. A hard link is the member it points to.
    """

    def __init__(self, source: ByteSource, *, name: str) -> None:
        self.source, self.name = source, name
        self._members = _members(source)
        self._names = tuple(sorted(self._members))

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.source, self.name)

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
        self.source.close()

    def members(self) -> Sequence[str]:
        """See ``ArchiveReader.members``."""
        return self._names

    def size(self, member: str) -> int:
        """See ``ArchiveReader.size``."""
        return self._find(member).size

    def read(self, member: str) -> bytes:
        """See ``ArchiveReader.read``; tar has no checksums, so that only the size is checked."""
        place = self._find(member)
        content = self.source.pread(place.size, place.offset)
        if len(content) != place.size:
            raise damaged(
                self.source.label,
                f"it ends inside member {member}",
                expected=f"{place.size} bytes",
                got=f"{len(content)} bytes",
            )
        return content

    def open(self, member: str) -> BinaryIO:
        """See ``ArchiveReader.open``."""
        stream = ByteStream(self.member_bytes(member))
        return cast("BinaryIO", io.BufferedReader(stream, _BLOCK))

    def member_bytes(self, member: str) -> ByteSource:
        """See ``PackedArchive.member_bytes``."""
        place = self._find(member)
        return SliceBytes(self.source, place.offset, place.size, member)

    def _find(self, member: str) -> _Place:
        try:
            return self._members[member]
        except KeyError:
            raise no_member(self.source.label, member) from None


def _reopen(source: ByteSource, name: str) -> TarArchive:
    return TarArchive(source, name=name)


def _members(source: ByteSource) -> dict[str, _Place]:
    index = load_index(source, INDEX_SUFFIX, _TarIndex)
    if index is None:
        index = _TarIndex(members=_read_members(source))
        save_index(source, INDEX_SUFFIX, index)
    return index.members


def _read_members(source: ByteSource) -> dict[str, _Place]:
    found: dict[str, _Place] = {}
    for entry in read_entries(source):
        name = _plain_name(source, entry.name, folder=entry.kind == _FOLDER)
        if entry.kind == _FILE:
            found[name] = _Place(entry.offset, entry.size)
        elif entry.kind == _HARD_LINK:
            found[name] = _linked(source, entry, found)
        elif entry.kind != _FOLDER:
            what = _REFUSED.get(entry.kind, f"of type {entry.kind!r}, which is not a file")
            raise _unusable(source, f"member {name} of {source.label} is {what}")
        if len(found) > _MAX_MEMBERS:
            raise _unusable(source, f"{source.label} has more than {_MAX_MEMBERS} members")
    return found


def _plain_name(source: ByteSource, name: str, *, folder: bool) -> str:
    plain = name
    while plain.startswith("./"):
        plain = plain[2:]
    if folder:
        plain = plain.rstrip("/")
        if plain in ("", ".") and name.startswith("."):  # the folder that was packed
            return plain
    return check_member_name(source.label, plain)


def _linked(source: ByteSource, entry: TarEntry, found: dict[str, _Place]) -> _Place:
    target = _plain_name(source, entry.link, folder=False)
    if target not in found:
        raise _unusable(
            source, f"member {entry.name} of {source.label} is a link to {target}, which is not"
        )
    return found[target]


def _unusable(source: ByteSource, what: str) -> ArchiveError:
    return ArchiveError(
        what, fix=f"Unpack {source.cache.name} with care, and give the folder by --from."
    )
