"""Archives as tools write them, and as nobody should."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.downloaders.conftest import make_zip

__all__ = ["make_gzip", "make_tar", "make_zip", "tar_header", "write_parts"]

END = bytes(1024)


def make_tar(
    members: Mapping[str, bytes] | Iterable[tuple[tarfile.TarInfo | str, bytes]],
    *,
    form: int = tarfile.GNU_FORMAT,
) -> bytes:
    """Return a tar file as ``tarfile`` writes it."""
    stream = io.BytesIO()
    pairs = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, body in pairs:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return stream.getvalue()


def make_gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=1, mtime=0)


def tar_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """Return a header with a right checksum, whatever its fields hold."""
    fields = (name.ljust(100, b"\0"), b"0000644\0" * 3, size.ljust(12, b"\0"), bytes(12))
    before, after = b"".join(fields), kind + bytes(100) + b"ustar\00000" + bytes(247)
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after


def write_parts(whole: Path, body: bytes, names: Iterable[str]) -> list[Path]:
    """Cut ``body`` into equal parts beside ``whole``, as ``split`` does."""
    suffixes = list(names)
    length = -(-len(body) // len(suffixes))
    paths = [whole.with_name(f"{whole.name}.{suffix}") for suffix in suffixes]
    for number, path in enumerate(paths):
        path.write_bytes(body[number * length : (number + 1) * length])
    return paths
