from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from pipelines.demo.archives import gzip_bytes, tar_bytes, write_file, write_parts
from schemas.errors import ConflictError
from tests.demo.archive_contents import read_tar, read_tar_gz


def test_a_tar_has_folders_before_their_files(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tar", tar_bytes([("./b/c.txt", b"1"), ("./b/d.txt", b"22")]))
    with tarfile.open(path) as archive:
        entries = [(entry.name, entry.isdir(), entry.mtime) for entry in archive]
    assert entries == [
        (".", True, 0), ("./b", True, 0), ("./b/c.txt", False, 0), ("./b/d.txt", False, 0)
    ]  # fmt: skip


def test_gzip_holds_no_moment() -> None:
    body = gzip_bytes(tar_bytes([("a", b"x" * 1000)]))
    assert body[4:8] == bytes(4)
    assert read_tar_gz(body) == {"a": b"x" * 1000}


def test_parts_join_to_the_whole(tmp_path: Path) -> None:
    body = tar_bytes([("a", bytes(range(256)) * 9)])
    parts = write_parts(tmp_path / "x.tar", body, 3)
    assert [part.name for part in parts] == ["x.tar.aa", "x.tar.ab", "x.tar.ac"]
    assert read_tar(b"".join(part.read_bytes() for part in parts)) == read_tar(body)


def test_a_file_with_other_bytes_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"1")
    write_file(tmp_path / "a", b"1")
    with pytest.raises(ConflictError, match="exists with other content"):
        write_file(tmp_path / "a", b"2")
