from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from pipelines.jobs.media_tar import MediaTar
from pipelines.store.commits import hash_file
from pipelines.store.local import LocalObjectStore
from schemas.errors import DataError
from schemas.manifests import FileRecord

BODIES = {"a.jpg": b"x" * 511, "clip.00000.jpg": b"y" * 512, "z.png": b"", "b.jpg": b"z" * 513}


def write(store: LocalObjectStore) -> tuple[FileRecord, dict[str, int]]:
    with store.stage("m.tar") as staged:
        tar = MediaTar(staged)
        offsets = {name: tar.add(name, body) for name, body in BODIES.items()}
        record = tar.finish()
        assert staged.publish()
    return record, offsets


def test_the_standard_library_reads_it_and_agrees_on_offsets(tmp_path: Path) -> None:
    record, offsets = write(LocalObjectStore(tmp_path))
    with tarfile.open(tmp_path / "m.tar", "r:") as archive:
        members = archive.getmembers()
        assert {m.name: m.offset_data for m in members} == offsets
        for member in members:
            file = archive.extractfile(member)
            assert file is not None
            assert file.read() == BODIES[member.name]
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            assert (member.uname, member.gname) == ("", "")
    assert hash_file(LocalObjectStore(tmp_path), "m.tar") == record
    assert record.bytes % tarfile.BLOCKSIZE == 0


def test_a_tar_without_members_is_a_tar(tmp_path: Path) -> None:
    with LocalObjectStore(tmp_path).stage("m.tar") as staged:
        MediaTar(staged).finish()
        assert staged.publish()
    with tarfile.open(tmp_path / "m.tar", "r:") as archive:
        assert archive.getmembers() == []


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with (
        LocalObjectStore(tmp_path).stage("m.tar") as staged,
        pytest.raises(DataError, match="tar member"),
    ):
        MediaTar(staged).add("x" * 101, b"")
