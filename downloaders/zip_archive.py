"""Random access to the members of a zip file, lock-free, checked, and safe against hostile files.

``zipfile`` reads the directory. Members are read by ``pread``, because ``ZipFile`` shares one file
position behind a lock, which threads would queue for.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

from downloaders.member_names import check_member_name, check_unique, no_member
from schemas.errors import ArchiveError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1
_BLOCK = 1 << 20
_MAX_MEMBER_BYTES = 8 << 30
# Annotation files, the best compressible members of real data sets, shrink 4 to 20 times.
_MAX_RATIO = 200
_RATIO_MATTERS_BYTES = 64 << 20


class _Member(NamedTuple):
    header: int
    compressed: int
    size: int
    crc: int
    method: int


class ZipArchive:
    """The members of the zip file at ``path``; see ``ArchiveReader``."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        self.path = path.absolute()
        self.name = name or path.name
        self._members = _directory(self.path)
        self._names = tuple(sorted(self._members))
        self._file = self.path.open("rb", buffering=0)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, self.name)

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
        self._file.close()

    def members(self) -> Sequence[str]:
        """See ``ArchiveReader.members``."""
        return self._names

    def size(self, member: str) -> int:
        """See ``ArchiveReader.size``."""
        return self._find(member).size

    def read(self, member: str) -> bytes:
        """See ``ArchiveReader.read``."""
        return b"".join(self._chunks(member, self._find(member)))

    def open(self, member: str) -> BinaryIO:
        """See ``ArchiveReader.open``."""
        chunks = self._chunks(member, self._find(member))
        return cast("BinaryIO", io.BufferedReader(_ChunkStream(chunks), _BLOCK))

    def _find(self, member: str) -> _Member:
        try:
            return self._members[member]
        except KeyError:
            raise no_member(self.path, member) from None

    def _chunks(self, member: str, entry: _Member) -> Iterator[bytes]:
        """Yield the content; raise at the end when it is not what the directory says."""
        crc = size = 0
        for chunk in self._inflated(member, entry):
            crc = zlib.crc32(chunk, crc)
            size += len(chunk)
            if size > entry.size:
                break
            yield chunk
        if (size, crc) != (entry.size, entry.crc):
            raise _damaged(self.path, f"member {member} fails its size or CRC-32 check")

    def _inflated(self, member: str, entry: _Member) -> Iterator[bytes]:
        if entry.method == zipfile.ZIP_STORED:
            yield from self._stored(member, entry)
            return
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for block in self._stored(member, entry):
                # Bounded, so that a hostile block cannot fill the memory at once.
                left = block
                while left and not inflate.eof:
                    yield inflate.decompress(left, _BLOCK)
                    left = inflate.unconsumed_tail
            yield inflate.flush()
        except zlib.error as cause:
            raise _damaged(self.path, f"member {member} does not decompress: {cause}") from cause

    def _stored(self, member: str, entry: _Member) -> Iterator[bytes]:
        """Yield the bytes as they are in the file."""
        descriptor = self._file.fileno()
        header = os.pread(descriptor, _LOCAL_HEADER.size, entry.header)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise _damaged(self.path, f"member {member} is not where the directory says")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        offset = entry.header + _LOCAL_HEADER.size + name_length + extra_length
        end = offset + entry.compressed
        while offset < end:
            block = os.pread(descriptor, min(_BLOCK, end - offset), offset)
            if not block:
                raise _damaged(self.path, f"it ends inside member {member}")
            yield block
            offset += len(block)


class _ChunkStream(io.RawIOBase):
    """A readable stream over an iterator of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _reopen(path: Path, name: str) -> ZipArchive:
    return ZipArchive(path, name=name)


def _directory(path: Path) -> dict[str, _Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            folders = [info for info in archive.infolist() if info.is_dir()]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError) as cause:
        raise _damaged(path, f"it is truncated or not a zip file: {cause}") from cause
    except OSError as cause:
        raise ArchiveError(f"cannot open {path}: {cause.strerror or cause}") from cause
    for info in folders:
        check_member_name(path, info.orig_filename.rstrip("/"))
    check_unique(path, (info.filename for info in infos))
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise _damaged(path, "its members overlap or are longer than the file")
    return {info.filename: _member(path, info) for info in infos}


def _member(path: Path, info: zipfile.ZipInfo) -> _Member:
    # orig_filename: zipfile cuts the other one at a NUL byte.
    name = check_member_name(path, info.orig_filename)
    bomb = info.file_size > _MAX_MEMBER_BYTES or (
        info.file_size > _RATIO_MATTERS_BYTES
        and info.file_size > _MAX_RATIO * max(1, info.compress_size)
    )
    if info.flag_bits & _ENCRYPTED:
        problem = "is encrypted"
    elif stat.S_ISLNK(info.external_attr >> 16):
        problem = "is a symbolic link"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"uses compression method {info.compress_type}, not stored or deflate"
    elif bomb:
        problem = f"would grow from {info.compress_size} to {info.file_size} bytes"
    else:
        return _Member(
            info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type
        )
    raise ArchiveError(
        f"member {name} of {path} {problem}",
        fix="Do not use this archive; download it from its publisher.",
    )


def _damaged(path: Path, problem: str) -> ArchiveError:
    return ArchiveError(
        f"{path} is damaged: {problem}",
        fix="Delete it, then run the same `samdistill download` command as before.",
    )
