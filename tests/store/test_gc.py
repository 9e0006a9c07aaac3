from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.store import layout
from pipelines.store.commits import is_committed, write_commit
from pipelines.store.gc import Garbage, find_garbage, remove_garbage
from pipelines.store.local import LocalObjectStore
from pipelines.store.run_log import RunLog
from schemas.errors import IntegrityError
from schemas.ids import canonical_json
from schemas.manifests import CommitRecord, FileRecord
from schemas.runs import LeaseRecord
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import build_root

FOLDER = layout.split_folder("d", "s")
MEDIA = layout.media_key("d", "s", 0)
HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def record(*keys: str) -> CommitRecord:
    files = tuple(FileRecord(key=key, bytes=1, blake3="0" * 64) for key in keys)
    return CommitRecord(
        product="normalized", dataset="d", split="s", shard=0, rows=1, identity="1", files=files
    )


def found(store: LocalObjectStore, older_than: float = 0) -> list[Garbage]:
    return list(find_garbage(store, older_than=older_than))


def remove_all(store: LocalObjectStore) -> list[str]:
    return [item.key for item in found(store) if remove_garbage(store, item)]


def make_old(store: LocalObjectStore, name: str, hours: float) -> None:
    path = Path(store.url, name)
    age = path.stat().st_mtime - hours * HOUR
    os.utime(path, (age, age))


def test_nothing_that_is_published_is_garbage(store: LocalObjectStore) -> None:
    build_root(store, ColourTeacher())
    before = list(store.keys(""))
    assert any("/c/" in key for key in before)
    assert found(store) == []
    assert list(store.keys("")) == before


def test_files_without_commit_record_go_when_they_are_old(store: LocalObjectStore) -> None:
    array = layout.array_folder("d", "s", "t", "image.trunk")
    keys = [
        MEDIA,
        layout.samples_key("d", "s", 0),
        layout.annotations_key("d", "s", 0),
        layout.array_shard_key(array, 12, 4),
        layout.array_shard_key(array, 13, 1),
        layout.rows_key(array, 12),
    ]
    for key in keys:
        store.put_if_absent(key, b"x")
    assert found(store, older_than=HOUR) == []
    make_old(store, MEDIA, 2)
    (old,) = found(store, older_than=HOUR)
    assert (old.key, old.kind, old.bytes) == (MEDIA, "file without commit", 1)
    assert old.age >= 2 * HOUR
    assert sorted(remove_all(store)) == sorted(keys)
    assert list(store.keys("")) == []


def test_files_that_are_no_part_of_a_shard_stay(store: LocalObjectStore) -> None:
    keys = [
        layout.phrases_key("d", "s"),
        layout.array_metadata_key(layout.array_folder("d", "s", "t", "a")),
        "normalized/d/s/notes.txt",
        "features/d/s/t/a/c/README",
        "raw/coco/media-00001.tar",
        "media-00001.tar",
    ]
    for key in keys:
        store.put_if_absent(key, b"x")
    assert found(store) == []


def test_unfinished_writes_of_the_dead_go(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.store.local._open_nameless", lambda _folder: None)
    name = f"normalized/d/s/.a.{'0' * 32}.tmp"
    store.put_if_absent("normalized/d/s/a", b"x")
    Path(store.url, name).write_bytes(b"half")
    with store.stage("normalized/d/s/b"):
        assert remove_all(store) == ["normalized/d/s/a"]
        assert len(list(store.leftovers())) == 1
    assert list(store.keys("")) == ["normalized/d/s/a"]


def test_leases_of_dead_runs_go(store: LocalObjectStore) -> None:
    with RunLog(store, workers=1) as living:
        for shard, run in enumerate(("dead", living.run)):
            body = canonical_json(LeaseRecord(run=run, unit="u"))
            store.put_if_absent(layout.lease_key("g", shard), body)
        assert remove_all(store) == [layout.lease_key("g", 0)]
    assert remove_all(store) == [layout.lease_key("g", 1)]


def test_a_file_that_is_committed_meanwhile_stays(store: LocalObjectStore) -> None:
    store.put_if_absent(MEDIA, b"x")
    (garbage,) = found(store)
    write_commit(store, FOLDER, record(MEDIA))
    assert not remove_garbage(store, garbage)
    assert store.get(MEDIA) == b"x"


def test_a_commit_made_while_its_file_is_removed_is_taken_back(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: gc has seen no commit record, and removes the file after the writer has."""
    store.put_if_absent(MEDIA, b"x")
    (garbage,) = found(store)
    delete = store.delete

    def commit_first(key: str) -> None:
        if key == MEDIA:
            write_commit(store, FOLDER, record(MEDIA))
        delete(key)

    monkeypatch.setattr(store, "delete", commit_first)
    assert remove_garbage(store, garbage)
    assert not is_committed(store, FOLDER, 0)


def test_a_file_removed_before_its_commit_makes_no_commit(store: LocalObjectStore) -> None:
    with pytest.raises(IntegrityError, match="was removed while its shard"):
        write_commit(store, FOLDER, record(MEDIA))
    assert not is_committed(store, FOLDER, 0)
