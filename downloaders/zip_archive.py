"""Random access to the members of a zip file, lock-free, checked, and safe against hostile files.

``zipfile`` reads the directory. Members are read by ``pread``, because ``ZipFile`` shares one file
position behind a lock, which threads would queue for.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

from downloaders.byte_source import ByteSource, ByteStream, FileBytes, SliceBytes, damaged
from downloaders.member_names import check_member_name, check_unique, no_member
from schemas.errors import ArchiveError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1
_BLOCK = 1 << 20
# Annotation files, the best compressible members of real data sets, shrink 4 to 20 times. What is
# larger than a few GiB are videos and archives, which do not shrink.
_MAX_RATIO = 200
_RATIO_MATTERS_BYTES = 64 << 20
_MAX_LARGE_RATIO = 4
_LARGE_BYTES = 8 << 30

# What zipfile raises on damaged files, besides its own errors.
_ZIPFILE_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    ValueError,
    OSError,
    struct.error,
    EOFError,
    OverflowError,
    IndexError,
)


class _Member(NamedTuple):
    header: int
    compressed: int
    size: int
    crc: int
    method: int


class ZipArchive:
    """The members of the zip file that ``source`` is, or holds; see ``ArchiveReader``."""

    def __init__(self, source: Path | ByteSource, *, name: str | None = None) -> None:
        self.source = FileBytes(source) if isinstance(source, Path) else source
        self.name = name or self.source.cache.name
        self._label = self.source.label
        self._members = _directory(self.source)
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
        """See ``ArchiveReader.read``."""
        return b"".join(self._chunks(member, self._find(member)))

    def open(self, member: str) -> BinaryIO:
        """See ``ArchiveReader.open``."""
        chunks = self._chunks(member, self._find(member))
        return cast("BinaryIO", io.BufferedReader(_ChunkStream(chunks), _BLOCK))

    def member_bytes(self, member: str) -> ByteSource | None:
        """See ``PackedArchive.member_bytes``."""
        entry = self._find(member)
        if entry.method != zipfile.ZIP_STORED:
            return None
        return SliceBytes(self.source, self._content(member, entry), entry.compressed, member)

    def _find(self, member: str) -> _Member:
        try:
            return self._members[member]
        except KeyError:
            raise no_member(self._label, member) from None

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
            raise damaged(self._label, f"member {member} fails its size or CRC-32 check")

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
            raise damaged(self._label, f"member {member} does not decompress: {cause}") from cause

    def _stored(self, member: str, entry: _Member) -> Iterator[bytes]:
        """Yield the bytes as they are in the file."""
        offset = self._content(member, entry)
        end = offset + entry.compressed
        while offset < end:
            block = self.source.pread(min(_BLOCK, end - offset), offset)
            if not block:
                raise damaged(self._label, f"it ends inside member {member}")
            yield block
            offset += len(block)

    def _content(self, member: str, entry: _Member) -> int:
        """Return where the content begins: after the local header and what may follow that."""
        header = self.source.pread(_LOCAL_HEADER.size, entry.header)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise damaged(self._label, f"member {member} is not where the directory says")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        return entry.header + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


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


def _reopen(source: ByteSource, name: str) -> ZipArchive:
    return ZipArchive(source, name=name)


def _directory(source: ByteSource) -> dict[str, _Member]:
    try:
        with zipfile.ZipFile(io.BufferedReader(ByteStream(source), _BLOCK)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            folders = [info for info in archive.infolist() if info.is_dir()]
    except ArchiveError:
        raise
    except _ZIPFILE_ERRORS as cause:
        raise damaged(source.label, f"it is truncated or not a zip file: {cause}") from cause
    for info in folders:
        check_member_name(source.label, info.orig_filename.rstrip("/"))
    check_unique(source.label, (info.filename for info in infos))
    if sum(info.compress_size for info in infos) > source.size:
        raise damaged(source.label, "its members overlap or are longer than the file")
    return {info.filename: _member(source.label, info) for info in infos}


def _member(archive: str, info: zipfile.ZipInfo) -> _Member:
    # orig_filename: zipfile cuts the other one at a NUL byte.
    name = check_member_name(archive, info.orig_filename)
    if info.flag_bits & _ENCRYPTED:
        problem = "is encrypted"
    elif stat.S_ISLNK(info.external_attr >> 16):
        problem = "is a symbolic link"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"uses compression method {info.compress_type}, not stored or deflate"
    elif _is_bomb(info.compress_size, info.file_size):
        problem = f"would grow from {info.compress_size} to {info.file_size} bytes"
    else:
        return _Member(
            info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type
        )
    raise ArchiveError(
        f"member {name} of {archive} {problem}",
        fix="Do not use this archive; download it from its publisher.",
    )


def _is_bomb(compressed: int, size: int) -> bool:
    allowed = _MAX_LARGE_RATIO if size > _LARGE_BYTES else _MAX_RATIO
    return size > _RATIO_MATTERS_BYTES and size > allowed * max(1, compressed)
