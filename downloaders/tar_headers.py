"""The headers of a tar file: POSIX ustar and pax, GNU long names and large numbers, plain V7.

``tarfile`` takes a damaged header in the middle for the end of the archive; here it is an error.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from downloaders.byte_source import ByteSource, damaged
from schemas.errors import ArchiveError

BLOCK = 512
_HEADER = struct.Struct("100s24x12s12x8sc100s6s82x155s12x")
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_PAX_LENGTH = re.compile(rb"([1-9]\d{0,6}) ")
_LARGE_NUMBER, _NEGATIVE_NUMBER = 0x80, 0xFF
_HAS_CONTENT = frozenset(b"\x0007LKxXg")
_SPARSE = "GNU.sparse."
_MAX_EXTENSION = 1 << 20
_AT_ONCE = 1 << 20


class TarEntry(NamedTuple):
    """One file, folder or link, as its headers describe it."""

    name: str
    kind: str
    """The type flag; ``"0"`` for a file, ``"5"`` for a folder."""
    offset: int
    """Where the content begins."""
    size: int
    link: str
    """What a link points to."""


class _Header(NamedTuple):
    name: bytes
    kind: int
    size: int
    link: bytes


def begins_tar(head: bytes) -> bool:
    """Return whether ``head`` is the first block of a tar file; one without members does not count.

    It is zeros only, as is a file for which a download reserved the space.
    """
    if len(head) < BLOCK:
        return False
    try:
        header = _parse(head[:BLOCK])
    except ValueError:
        return False
    return header is not None and bool(header.name)


def read_entries(source: ByteSource) -> Iterator[TarEntry]:
    """Yield the entries in their order.

    Raises
    ------
    ArchiveError
        A header is damaged, the archive ends early, or bytes follow its end.
    """
    offset, extended, shared = 0, dict[str, str](), dict[str, str]()
    last = "its beginning"
    while (header := _header(source, offset, last)) is not None:
        offset += BLOCK
        where = f"the header at byte {offset - BLOCK} of {source.label}"
        if chr(header.kind) in "LKxXg":
            found = _extension(source, header, offset, where)
            (shared if header.kind == ord("g") else extended).update(found)
        else:
            entry = _entry(header, offset, {**shared, **extended}, where)
            extended, last = {}, f"member {entry.name}"
            yield entry
            header = header._replace(size=entry.size)
        size = header.size if header.kind in _HAS_CONTENT else 0
        if offset + size > source.size:
            raise damaged(
                source.label,
                f"it ends inside {last}",
                expected=f"{size} bytes",
                got=f"{source.size - offset} bytes",
            )
        offset += -(-size // BLOCK) * BLOCK
    _check_rest(source, offset, last)


def _header(source: ByteSource, offset: int, last: str) -> _Header | None:
    block = source.pread(BLOCK, offset)
    if len(block) < BLOCK:
        raise damaged(
            source.label,
            f"it ends after {last}, without the mark of its end",
            expected=f"more than {source.size} bytes",
        )
    try:
        return _parse(block)
    except ValueError as cause:
        raise damaged(
            source.label, f"no tar header at byte {offset}, after {last}: {cause}"
        ) from cause


def _parse(block: bytes) -> _Header | None:
    """Return the header, or None for the block of zeros that ends the archive."""
    name, size, checksum, kind, link, magic, prefix = _HEADER.unpack(block)
    if not any(block):
        return None
    # Some writers of old summed signed characters.
    total = sum(block) - sum(checksum) + len(checksum) * ord(" ")
    signed = total - 256 * sum(byte > 127 for byte in block)
    if _number(checksum) not in (total, signed):
        raise ValueError("its checksum is wrong")
    name, prefix = name.split(b"\0", 1)[0], prefix.split(b"\0", 1)[0]
    if magic == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    if kind == b"\0" and name.endswith(b"/"):
        kind = b"5"
    return _Header(name, kind[0], _number(size), link.split(b"\0", 1)[0])


def _number(field: bytes) -> int:
    if field[0] == _LARGE_NUMBER:
        return int.from_bytes(field[1:])
    if field[0] == _NEGATIVE_NUMBER:
        raise ValueError("a negative number")
    octal = _OCTAL.fullmatch(field)
    if octal is None:
        raise ValueError(f"{field!r} is not a number")
    return int(octal[1] or b"0", 8)


def _extension(source: ByteSource, header: _Header, offset: int, where: str) -> dict[str, str]:
    """Return what a long name, or a pax header, says of the entry that follows."""
    if header.size > _MAX_EXTENSION:
        raise ArchiveError(
            f"{where} is too long", expected=f"{_MAX_EXTENSION} bytes at most", got=header.size
        )
    content = source.pread(header.size, offset)
    if chr(header.kind) in "LK":
        field = "path" if header.kind == ord("L") else "linkpath"
        return {field: _text(content.split(b"\0", 1)[0], where)}
    return dict(_pax_records(content.rstrip(b"\0"), where))


def _pax_records(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Yield keywords and values of ``<length> <keyword>=<value>`` lines; the length counts all."""
    while content:
        length = _PAX_LENGTH.match(content)
        end = int(length[1]) if length else 0
        record = content[length.end() : end] if length else b""
        key, equals, value = record.partition(b"=")
        if not equals or len(content) < end or not record.endswith(b"\n"):
            raise ArchiveError(f"{where} has a damaged pax record", got=repr(content[:40]))
        yield _text(key, where), _text(value[:-1], where)
        content = content[end:]


def _entry(header: _Header, offset: int, extended: dict[str, str], where: str) -> TarEntry:
    name = extended.get("path") or _text(header.name, where)
    size = extended.get("size", str(header.size))
    if not (size.isascii() and size.isdigit() and len(size) < 20):
        raise ArchiveError(f"{where} has the size {size!r}", expected="a number")
    sparse = any(key.startswith(_SPARSE) for key in extended)
    return TarEntry(
        name=name,
        kind="S" if sparse else "0" if header.kind in b"\x0007" else chr(header.kind),
        offset=offset,
        size=int(size),
        link=extended.get("linkpath") or _text(header.link, where),
    )


def _text(value: bytes, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as cause:
        raise ArchiveError(f"{where} has text that is not UTF-8", got=repr(value)[:80]) from cause


def _check_rest(source: ByteSource, offset: int, last: str) -> None:
    while rest := source.pread(_AT_ONCE, offset):
        if rest.count(0) != len(rest):
            raise ArchiveError(
                f"{source.label} goes on behind its end, which is after {last}",
                expected="one archive",
                got="several in one file, or bytes that do not belong to it",
                fix="Unpack it by `tar -x -i -f`, and give the folder by --from.",
            )
        offset += len(rest)
