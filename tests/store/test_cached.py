from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.store.cache_folder import CacheFolder
from pipelines.store.cached import CachedStore, open_cached
from pipelines.store.local import LocalObjectStore
from schemas.errors import UsageError
from tests.contracts.object_store_contract import ObjectStoreContract

PIECE = 10_000


class CountingStore(LocalObjectStore):
    """Counts reads, as a bill for requests would."""

    reads = 0

    def get(self, key: str) -> bytes:
        self.reads += 1
        return super().get(key)

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        self.reads += 1
        return super().read_into(key, offset, *buffers)


@pytest.fixture
def remote(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path / "remote")
    store.put_if_absent("f", bytes(range(256)) * 4000)
    return store


def cached(remote: LocalObjectStore, tmp_path: Path, pieces: float = 1000) -> CachedStore:
    return open_cached(remote, tmp_path / "cache", int(pieces * PIECE))


def read(store: CachedStore, offset: int, *sizes: int) -> bytes:
    buffers = [memoryview(bytearray(size)) for size in sizes or (PIECE - 4,)]
    done = store.read_into("f", offset, *buffers)
    return b"".join(buffers)[:done]


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").glob("??/*") if path.is_file()]


class TestCachedStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> CachedStore:
        return cached(LocalObjectStore(tmp_path / "remote"), tmp_path)


def test_what_was_read_is_not_asked_for_again(remote: CountingStore, tmp_path: Path) -> None:
    store = cached(remote, tmp_path)
    first = [read(store, 7, 5, 0, 300), store.get("f")]
    asked = remote.reads
    other: CachedStore = pickle.loads(pickle.dumps(store))
    for again in (store, cached(remote, tmp_path)):
        assert [read(again, 7, 5, 0, 300), again.get("f")] == first
    assert remote.reads == asked
    assert read(other, 7, 100, 205) == first[0]
    assert b"".join(store.read_blocks("f", 7, memoryview(bytearray(305)))) == first[0]


def test_a_short_read_is_short_each_time(remote: CountingStore, tmp_path: Path) -> None:
    store = cached(remote, tmp_path)
    for _ in range(2):
        assert len(read(store, 1_023_990, 50)) == 10
    blocks = list(
        store.read_blocks("f", 1_023_990, memoryview(bytearray(4)), memoryview(bytearray(50)))
    )
    assert [len(block) for block in blocks] == [4, 6]


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "empty"])
def test_a_damaged_piece_is_fetched_again(
    remote: CountingStore, tmp_path: Path, damage: str
) -> None:
    store = cached(remote, tmp_path)
    expected = read(store, 5)
    (path,) = files(tmp_path)
    body = bytearray(path.read_bytes())
    body[100] ^= 1
    path.write_bytes(
        bytes({"flip": body, "cut": body[:-1], "longer": body + b"x", "empty": b""}[damage])
    )
    assert read(store, 5) == expected
    assert remote.reads == 2
    assert read(store, 5) == expected
    assert remote.reads == 2


def test_the_limit_holds_and_what_was_used_last_stays(
    remote: CountingStore, tmp_path: Path
) -> None:
    store = cached(remote, tmp_path, pieces=10)
    for number in range(9):
        read(store, number * PIECE)
        time.sleep(0.01)
    read(store, 0)
    for number in range(9, 12):
        read(store, number * PIECE)
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 10 * PIECE
    assert store.cache.used_bytes() == sum(path.stat().st_size for path in files(tmp_path))
    asked = remote.reads
    read(store, 0)
    read(store, 11 * PIECE)
    assert remote.reads == asked
    read(store, PIECE)
    assert remote.reads == asked + 1


def test_a_piece_beyond_the_limit_is_read_and_not_kept(
    remote: CountingStore, tmp_path: Path
) -> None:
    store = cached(remote, tmp_path, pieces=1)
    assert len(read(store, 0, 2 * PIECE)) == 2 * PIECE
    assert files(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_no_error(
    remote: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = cached(remote, tmp_path)

    def full(descriptor: int, buffers: Sequence[memoryview]) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    assert len(read(store, 0)) == PIECE - 4
    assert files(tmp_path) == []
    assert store.cache.used_bytes() == 0


def test_the_root_is_never_a_cache(remote: CountingStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is the root itself"):
        open_cached(remote, remote.root, PIECE)
    with pytest.raises(UsageError, match="lie in each other"):
        open_cached(remote, remote.root / "cache", PIECE)
    with pytest.raises(UsageError, match="holds other files"):
        open_cached(remote, tmp_path, PIECE)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match="holds other files"):
        open_cached(remote, tmp_path / "photos", PIECE)
    assert (tmp_path / "photos/a.jpg").read_bytes() == b"mine"
    assert len(remote.get("f")) == 1_024_000


def test_what_a_killed_process_left_is_removed(remote: CountingStore, tmp_path: Path) -> None:
    store = cached(remote, tmp_path, pieces=2)
    read(store, 0)
    old = files(tmp_path)[0].with_name(".dead.tmp")
    old.write_bytes(b"x" * PIECE)
    os.utime(old, (0, 0))
    for number in range(4):
        read(store, number * PIECE)
    assert not old.exists()


def _read_at_random(root: Path, folder: Path, seed: int, pipe: object) -> None:
    import random

    store = open_cached(LocalObjectStore(root), folder, 6 * PIECE)
    body, wrong = store.remote.get("f"), 0
    chosen = random.Random(seed)
    for _ in range(400):
        offset = chosen.randrange(20) * PIECE
        wrong += read(store, offset) != body[offset : offset + PIECE - 4]
    pipe.send(wrong)  # type: ignore[attr-defined]


def test_many_processes_share_a_small_cache(remote: CountingStore, tmp_path: Path) -> None:
    """Everybody evicts what others read; nobody reads anything wrong, and the limit holds."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(3)]
    workers = [
        context.Process(
            target=_read_at_random, args=(remote.root, tmp_path / "cache", seed, sender)
        )
        for seed, (_, sender) in enumerate(pipes)
    ]
    largest, done = 0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.is_set():
            sizes = []
            for path in files(tmp_path):
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue
            largest = max(largest, sum(sizes))
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for worker in workers:
        worker.start()
    assert [receiver.recv() for receiver, _ in pipes] == [0, 0, 0]
    for worker in workers:
        worker.join()
    done.set()
    watcher.join()
    # A file is seen twice while it has its temporary and its final name.
    assert 0 < largest <= 6 * PIECE + 3 * PIECE
    folder = CacheFolder(tmp_path / "cache", 6 * PIECE)
    assert folder.used_bytes() == sum(path.stat().st_size for path in files(tmp_path))
