from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.store.rehearsal import Rehearsal


@pytest.fixture
def behind(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path)
    store.put_if_absent("a/old", b"0123456789")
    return store


def test_what_is_written_is_read_and_nothing_changes(behind: LocalObjectStore) -> None:
    store = Rehearsal(behind)
    assert store.put_if_absent("a/new", b"new")
    assert not store.put_if_absent("a/old", b"other")
    with store.stage("b/new") as staged:
        staged.write(b"one", b"two")
        assert store.size("b/new") is None
        assert staged.publish()
    assert (store.get("a/new"), store.get("b/new"), store.size("b/new")) == (b"new", b"onetwo", 6)
    store.delete("a/old")
    assert store.get("a/old") == b"0123456789"
    assert list(behind.sizes("")) == [("a/old", 10)]


@pytest.mark.parametrize("key", ["a/old", "a/new"])
def test_ranges_read_alike(behind: LocalObjectStore, key: str) -> None:
    store = Rehearsal(behind)
    store.put_if_absent("a/new", b"0123456789")
    first, second = bytearray(3), bytearray(9)
    assert store.read_into(key, 4, memoryview(first), memoryview(second)) == 6
    assert bytes(first) + bytes(second[:3]) == b"456789"
    assert store.read_into(key, 10, memoryview(first)) == 0


def test_listings_are_those_of_the_store_behind(behind: LocalObjectStore) -> None:
    store = Rehearsal(behind)
    assert (list(store.keys("a")), list(store.folders(""))) == (["a/old"], ["a"])
    assert list(store.sizes("a")) == [("a/old", 10)]
    assert store.url == behind.url
