"""A published file that is no archive, seen as an archive of one member."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO, Self, cast

from downloaders.byte_source import ByteSource, ByteStream, damaged
from downloaders.member_names import check_member_name, no_member

_BLOCK = 1 << 20


class SingleFile:
    """The bytes of ``source`` as the only ``member``; see ``ArchiveReader``."""

    def __init__(self, source: ByteSource, *, name: str, member: str) -> None:
        self.source, self.name = source, name
        self._member = check_member_name(source.label, member)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.source, self.name, self._member)

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
        return (self._member,)

    def size(self, member: str) -> int:
        """See ``ArchiveReader.size``."""
        return self.member_bytes(member).size

    def read(self, member: str) -> bytes:
        """See ``ArchiveReader.read``."""
        source = self.member_bytes(member)
        content = source.pread(source.size, 0)
        if len(content) != source.size:
            raise damaged(source.label, "it got shorter", expected=source.size, got=len(content))
        return content

    def open(self, member: str) -> BinaryIO:
        """See ``ArchiveReader.open``."""
        return cast("BinaryIO", io.BufferedReader(ByteStream(self.member_bytes(member)), _BLOCK))

    def member_bytes(self, member: str) -> ByteSource:
        """See ``PackedArchive.member_bytes``."""
        if member != self._member:
            raise no_member(self.source.label, member)
        return self.source


def _reopen(source: ByteSource, name: str, member: str) -> SingleFile:
    return SingleFile(source, name=name, member=member)
