"""One read-only view of archives and of folders: members by name, without unpacking anything."""

from __future__ import annotations

import contextlib
from pathlib import Path

from downloaders.archive_reader import ArchiveReader, PackedArchive
from downloaders.byte_source import ByteSource, FileBytes, damaged
from downloaders.content import HEAD_BYTES, wrong_head
from downloaders.folder_archive import FolderArchive
from downloaders.multipart import JoinedBytes, find_parts, part_of
from downloaders.nested_archive import SUFFIXES, NestedArchive, inner_archives, inner_bytes
from downloaders.seekable_gzip import GZIP_MAGIC, GzipBytes, peek_gzip
from downloaders.single_file import SingleFile
from downloaders.tar_archive import TarArchive
from downloaders.tar_headers import begins_tar
from downloaders.zip_archive import ZipArchive

__all__ = ["ArchiveReader", "FolderArchive", "TarArchive", "ZipArchive", "open_archive"]

_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")


def open_archive(path: Path) -> ArchiveReader:
    """Open the file at ``path`` as what its first bytes say: zip, tar or gzipped tar.

    Any part of a file in parts opens the whole. The members of archives inside are members too;
    see ``nested_archive``. A file that is no archive, and whose name does not say so, is its own
    only member.

    Raises
    ------
    ArchiveError
        It is not what its name says, or damaged.
    """
    part = part_of(path.name)
    name = part.whole if part else path.name
    source = JoinedBytes(find_parts(path)) if part else FileBytes(path)
    with contextlib.ExitStack() as stack:
        stack.callback(source.close)
        archive = _open(source, name) or _single(source, name)
        members = [
            member for member in inner_archives(archive) if _begins_archive(_head(archive, member))
        ]
        # Closing the source is enough for those that are read in place.
        inner = {member: _open_inner(archive, member, stack) for member in members}
        stack.pop_all()
    found = {member: reader for member, reader in inner.items() if reader is not None}
    return NestedArchive(archive, found) if found else archive


def _open(source: ByteSource, name: str) -> PackedArchive | None:
    """Return the archive that ``source`` is, or None."""
    head = source.pread(HEAD_BYTES, 0)
    if head.startswith(GZIP_MAGIC):
        head = peek_gzip(source, HEAD_BYTES)
        if head.startswith(_ZIP_MAGICS) or begins_tar(head):
            source = GzipBytes(source)
    if head.startswith(_ZIP_MAGICS):
        return ZipArchive(source, name=name)
    return TarArchive(source, name=name) if begins_tar(head) else None


def _head(archive: ArchiveReader, member: str) -> bytes:
    with archive.open(member) as stream:
        return stream.read(HEAD_BYTES)


def _begins_archive(head: bytes) -> bool:
    return head.startswith((*_ZIP_MAGICS, GZIP_MAGIC)) or begins_tar(head)


def _open_inner(
    outer: PackedArchive, member: str, stack: contextlib.ExitStack
) -> ArchiveReader | None:
    source = inner_bytes(outer, member)
    stack.callback(source.close)
    return _open(source, member)


def _single(source: ByteSource, name: str) -> SingleFile:
    head = source.pread(HEAD_BYTES, 0)
    says_archive = name.lower().endswith(SUFFIXES)
    wrong = wrong_head(head, "zip" if says_archive else "part")
    if wrong is not None:
        expected = "a zip, tar or tar.gz file" if says_archive else "data"
        raise damaged(source.label, "its first bytes are wrong", expected=expected, got=wrong)
    if head.startswith(GZIP_MAGIC):
        return SingleFile(GzipBytes(source), name=name, member=name.removesuffix(".gz"))
    return SingleFile(source, name=name, member=name)
