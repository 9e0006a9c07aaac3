from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipelines.store import commits
from pipelines.store.local import LocalObjectStore
from schemas.errors import ConflictError
from schemas.ids import digest_bytes
from schemas.manifests import CommitRecord, FileRecord

FILE = FileRecord(key="f/data", bytes=3, blake3=digest_bytes(b"abc"))
COMMIT = CommitRecord(
    product="normalized", dataset="d", split="s", shard=3, rows=1, identity="1", files=(FILE,)
)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path)
    store.put_if_absent(FILE.key, b"abc")
    return store


def test_commit_completes_a_shard_once(store: LocalObjectStore) -> None:
    assert not commits.is_committed(store, "f", 3)
    assert commits.write_commit(store, "f", COMMIT)
    assert not commits.write_commit(store, "f", COMMIT)
    assert commits.is_committed(store, "f", 3)
    assert commits.read_commit(store, "f", 3) == COMMIT


def test_another_commit_for_the_same_shard_is_a_conflict(store: LocalObjectStore) -> None:
    commits.write_commit(store, "f", COMMIT)
    with pytest.raises(ConflictError, match=r"f/commits/00003\.json"):
        commits.write_commit(store, "f", msgspec.structs.replace(COMMIT, rows=2))


def test_committed_shards_are_listed_in_order(store: LocalObjectStore) -> None:
    for shard in (100000, 2, 11):
        commits.write_commit(store, "f", msgspec.structs.replace(COMMIT, shard=shard))
    store.put_if_absent("f/commits/notes.txt", b"")
    assert list(commits.committed_shards(store, "f")) == [2, 11, 100000]


def test_identical_file_is_accepted_and_another_is_not(store: LocalObjectStore) -> None:
    commits.put_identical(store, FILE, b"abc")
    commits.put_identical(store, FILE, b"abc")
    other = FileRecord(key="f/data", bytes=3, blake3=digest_bytes(b"abd"))
    with pytest.raises(ConflictError, match="f/data exists with other content"):
        commits.put_identical(store, other, b"abd")
    assert store.get("f/data") == b"abc"


def test_staged_files_follow_the_same_rule(store: LocalObjectStore) -> None:
    for _ in range(2):
        with store.stage(FILE.key) as staged:
            staged.write(b"abc")
            commits.publish_identical(store, staged, FILE)
    assert store.get(FILE.key) == b"abc"


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 10_000])
def test_hash_goes_over_blocks(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(commits, "_HASH_BLOCK", 4096)
    body = bytes(range(256)) * 40
    store.put_if_absent("g", body[:size])
    record = FileRecord(key="g", bytes=size, blake3=digest_bytes(body[:size]))
    assert commits.hash_file(store, "g") == record
