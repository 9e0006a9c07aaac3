"""The content of a gzip file at random, by points from which decompression can begin.

``indexed_gzip`` finds the points and decompresses from them. It takes a truncated file for a
shorter one, so the file is checked by zlib beside it, once.
"""

from __future__ import annotations

import io
import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import indexed_gzip
import msgspec

from downloaders.archive_index import load_index, save_index
from downloaders.byte_source import ByteSource, ByteStream, damaged
from schemas.errors import ArchiveError

GZIP_MAGIC = b"\x1f\x8b"
POINTS_SUFFIX = ".points"
_BLOCK = 1 << 20
_SPACING = 16 << 20
# A point holds 32 KiB: those of a file of media, which does not shrink, take 128 MiB at most.
_MAX_POINTS = 4096
_CACHED_BYTES = 128 << 20
# Media do not shrink, text shrinks 4 to 20 times.
_MAX_RATIO = 200
_RATIO_MATTERS_BYTES = 64 << 20


class _Points(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    size: int
    """Of the content."""
    exported: bytes
    """As ``indexed_gzip`` writes them."""


class GzipBytes:
    """What the gzip file ``source`` holds; see ``ByteSource``.

    Content is decompressed from one point to the next and kept for a while, so that reading in
    order decompresses everything once, and reading anywhere costs one such block.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.label, self.cache = source.label, source.cache
        self._lock = threading.Lock()
        self._blocks = OrderedDict[int, bytes]()
        points = load_index(source, POINTS_SUFFIX, _Points)
        handle = _import_points(source, points) if points is not None else None
        if points is None or handle is None:
            points, handle = _find_points(source)
            save_index(source, POINTS_SUFFIX, points)
        self.size, self._handle = points.size, handle
        self._starts = [place for place, _ in handle.seek_points() if place < self.size]

    def __reduce__(self) -> tuple[object, ...]:
        return GzipBytes, (self._source,)

    @property
    def identity(self) -> str:
        """See ``ByteSource.identity``."""
        return self._source.identity

    def pread(self, count: int, offset: int) -> bytes:
        """See ``ByteSource.pread``."""
        end = min(offset + count, self.size)
        pieces = []
        with self._lock:
            number = self._number(offset)
            while offset < end:
                start, block = self._starts[number], self._block(number)
                piece = block[offset - start : end - start]
                pieces.append(piece)
                offset, number = offset + len(piece), number + 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """See ``ByteSource.close``."""
        self._handle.close()
        self._source.close()

    def _number(self, offset: int) -> int:
        return max(0, bisect_right(self._starts, offset) - 1)

    def _block(self, number: int) -> bytes:
        """Return the content from a point up to the next."""
        known = self._blocks.get(number)
        if known is not None:
            self._blocks.move_to_end(number)
            return known
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self.size
        try:
            block: bytes = self._handle.pread(end - start, start)
        except (OSError, ValueError) as cause:
            raise damaged(self.label, f"it does not decompress: {cause}") from cause
        if len(block) != end - start:
            raise damaged(self.label, f"it does not decompress at byte {start} of its content")
        self._blocks[number] = block
        while len(self._blocks) > 2 and sum(map(len, self._blocks.values())) > _CACHED_BYTES:
            self._blocks.popitem(last=False)
        return block


def peek_gzip(source: ByteSource, count: int) -> bytes:
    """Return the first ``count`` bytes of what a gzip file holds, or fewer where it is damaged."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        return inflate.decompress(source.pread(_BLOCK, 0), count)
    except zlib.error:
        return b""


def _import_points(source: ByteSource, points: _Points) -> indexed_gzip.IndexedGzipFile | None:
    handle = _open(source)
    try:
        handle.import_index(fileobj=io.BytesIO(points.exported))
    except (OSError, ValueError):  # another version of the library wrote it
        handle.close()
        return None
    return handle


def _find_points(source: ByteSource) -> tuple[_Points, indexed_gzip.IndexedGzipFile]:
    handle = _open(source)
    with ThreadPoolExecutor(1) as threads:
        checked = threads.submit(_checked_size, source)
        try:
            handle.build_full_index()
        except (OSError, ValueError) as cause:
            checked.result()  # its message is the better one
            raise damaged(source.label, f"it does not decompress: {cause}") from cause
        size = checked.result()
    exported = io.BytesIO()
    handle.export_index(fileobj=exported)
    return _Points(size=size, exported=exported.getvalue()), handle


def _open(source: ByteSource) -> indexed_gzip.IndexedGzipFile:
    spacing = max(_SPACING, source.size // _MAX_POINTS)
    return indexed_gzip.IndexedGzipFile(
        fileobj=ByteStream(source), spacing=spacing, readbuf_size=_BLOCK, skip_crc_check=True
    )


def _checked_size(source: ByteSource) -> int:
    """Return the size of the content, all of which has been checked.

    Raises
    ------
    ArchiveError
        It is truncated, fails a CRC-32, goes on behind its end, or grows beyond all measure.
    """
    size = 0
    for chunk in _inflate(source):
        size += len(chunk)
        if size > _RATIO_MATTERS_BYTES and size > _MAX_RATIO * source.size:
            raise ArchiveError(
                f"{source.label} would grow from {source.size} to more than {size} bytes",
                fix="Do not use this archive; download it from its publisher.",
            )
    return size


def _inflate(source: ByteSource) -> Iterator[bytes]:
    inflate, place = zlib.decompressobj(zlib.MAX_WBITS | 16), 0
    while block := source.pread(_BLOCK, place):
        place += len(block)
        while block:
            if inflate.eof:  # gzip files may follow each other, and zeros the last one
                block = block.lstrip(b"\0")
                if not block:
                    break
                inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                yield inflate.decompress(block, _BLOCK)
            except zlib.error as cause:
                problem = f"it does not decompress before byte {place}: {cause}"
                raise damaged(source.label, problem) from cause
            block = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise damaged(source.label, f"it is truncated: it ends at byte {place} inside its content")
