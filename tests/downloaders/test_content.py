from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from downloaders.base import FileKind, RemoteFile
from downloaders.content import HEAD_BYTES, wrong_content, wrong_head
from downloaders.digests import digest_file
from tests.downloaders.conftest import make_zip


def make_tar(form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        member = tarfile.TarInfo("sa_1.jpg")
        member.size = 700
        archive.addfile(member, io.BytesIO(bytes(range(250)) * 3))
    return stream.getvalue()


def make_v7_tar() -> bytes:
    """A header without ``ustar``, as old tools write it."""
    body = bytearray(make_tar())
    body[257:265] = bytes(8)
    body[148:156] = b" " * 8
    body[148:156] = b"%06o\0 " % sum(body[:512])
    return bytes(body)


def make_parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2]}), stream)
    return stream.getvalue()


GOOD: list[tuple[FileKind, bytes]] = [
    ("zip", make_zip({"a": b"1"})),
    ("gzip", gzip.compress(b"a")),
    ("tar", make_tar()),
    ("tar", make_tar(tarfile.GNU_FORMAT)),
    ("tar", make_v7_tar()),
    ("tar", gzip.compress(make_tar())),
    ("json", b"\xef\xbb\xbf \n" + json.dumps({"a": 1}).encode() + b"\n"),
    ("json", b"[1, 2]"),
    ("parquet", make_parquet()),
    ("text", ("é" * HEAD_BYTES).encode()),
    ("text", b"short"),
    ("part", b"\0\xff anything"),
]
CUT: list[tuple[FileKind, bytes]] = [
    ("zip", make_zip({"a": b"1"})[:-10]),
    ("tar", make_tar()[:-100]),
    ("json", b'{"a": [1, 2'),
    ("parquet", make_parquet()[:-3]),
]


def problem(kind: FileKind, body: bytes, folder: Path) -> str | None:
    path = folder / "a"
    path.write_bytes(body)
    file = RemoteFile(name="a", path="a", urls=(), kind=kind, splits=("train",))
    return wrong_content(path, file, digest_file(path, None), False)


@pytest.mark.parametrize(("kind", "body"), GOOD)
def test_accepts_each_kind(kind: FileKind, body: bytes, tmp_path: Path) -> None:
    assert wrong_head(body[:HEAD_BYTES], kind) is None
    assert problem(kind, body, tmp_path) is None


@pytest.mark.parametrize(("kind", "body"), CUT)
def test_notices_a_file_without_its_end(kind: FileKind, body: bytes, tmp_path: Path) -> None:
    assert wrong_head(body[:HEAD_BYTES], kind) is None
    assert "truncated" in (problem(kind, body, tmp_path) or "")


@pytest.mark.parametrize("kind", ["zip", "gzip", "tar", "json", "parquet", "text", "part"])
def test_a_web_page_is_never_a_file(kind: FileKind) -> None:
    page = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
    assert wrong_head(page, kind) == "an HTML page titled 'Sign in'"


@pytest.mark.parametrize("kind", ["zip", "gzip", "tar", "json", "parquet"])
def test_other_bytes_are_shown(kind: FileKind) -> None:
    assert wrong_head(b"\x89PNG and more", kind) == r"bytes that begin with b'\x89PNG and more'"
    assert wrong_head(b"", kind) == "nothing"


def test_binary_is_no_text() -> None:
    assert wrong_head(b"a\0b", "text") is not None
    assert wrong_head(b"\xff\xfe\xfd\xfc\xfb", "text") is not None
