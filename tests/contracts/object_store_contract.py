"""What every ObjectStore must do. Subclass it with a fixture ``store``."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from pipelines.store.objects import ObjectStore
from pipelines.store.open import open_store


class ObjectStoreContract:
    """A subclass gives the fixture ``store``: an empty store."""

    def test_what_is_put_is_got(self, store: ObjectStore) -> None:
        assert store.put_if_absent("a/b.bin", b"body")
        assert store.get("a/b.bin") == b"body"
        assert store.size("a/b.bin") == 4

    def test_the_first_writer_wins_and_nothing_changes(self, store: ObjectStore) -> None:
        assert store.put_if_absent("a", b"first")
        assert not store.put_if_absent("a", b"second")
        assert store.get("a") == b"first"

    def test_absent_files(self, store: ObjectStore) -> None:
        assert store.size("nothing") is None
        assert list(store.keys("nothing")) == []
        with pytest.raises(FileNotFoundError):
            store.get("nothing")
        store.delete("nothing")

    def test_staged_file_is_invisible_until_published(self, store: ObjectStore) -> None:
        with store.stage("f/c") as staged:
            staged.write(b"one", memoryview(b"two"), b"")
            assert staged.bytes == 6
            assert list(store.keys("f")) == []
            assert store.size("f/c") is None
            assert staged.publish()
        assert store.get("f/c") == b"onetwo"
        assert list(store.keys("f")) == ["f/c"]

    def test_staged_file_vanishes_when_its_block_fails(self, store: ObjectStore) -> None:
        with pytest.raises(ZeroDivisionError), store.stage("f/c") as staged:
            staged.write(b"half")
            raise ZeroDivisionError
        assert store.size("f/c") is None
        assert list(store.keys("f")) == []

    def test_publishing_over_an_existing_file_is_refused(self, store: ObjectStore) -> None:
        store.put_if_absent("f", b"first")
        with store.stage("f") as staged:
            staged.write(b"second")
            assert not staged.publish()
        assert store.get("f") == b"first"

    def test_ranges_into_several_buffers(self, store: ObjectStore) -> None:
        store.put_if_absent("f", bytes(range(100)))
        first, second = bytearray(10), bytearray(5)
        assert store.read_into("f", 20, memoryview(first), memoryview(second)) == 15
        assert bytes(first) + bytes(second) == bytes(range(20, 35))

    def test_ranges_end_with_the_file(self, store: ObjectStore) -> None:
        store.put_if_absent("f", b"0123456789")
        buffer = bytearray(8)
        assert store.read_into("f", 6, memoryview(buffer)) == 4
        assert bytes(buffer[:4]) == b"6789"
        assert store.read_into("f", 10, memoryview(buffer)) == 0
        assert store.read_into("f", 3) == 0

    def test_blocks_are_the_range_in_pieces(self, store: ObjectStore) -> None:
        body = bytes(range(256)) * 10_000
        store.put_if_absent("f", body)
        first, second = bytearray(2_000_000), bytearray(4)
        blocks = list(store.read_blocks("f", 5, memoryview(first), memoryview(second)))
        assert b"".join(blocks) == body[5 : 5 + 2_000_004] == bytes(first) + bytes(second)
        short = list(store.read_blocks("f", len(body) - 3, memoryview(first), memoryview(second)))
        assert b"".join(short) == body[-3:]
        assert list(store.read_blocks("f", len(body) + 9, memoryview(first))) == []

    def test_keys_are_sorted_and_below_the_prefix_only(self, store: ObjectStore) -> None:
        below = ["p/a", "p/b", "p/c-e/f", "p/c/d", "p/z"]
        for key in (*reversed(below), "pq/x"):
            store.put_if_absent(key, b"")
        assert list(store.keys("p")) == below
        assert list(store.keys("")) == [*below, "pq/x"]

    @pytest.mark.parametrize(
        "name", ["a b+c", "50%2F?x=1&y#z", "Zürich ☃", "a:b*'\"<>|~$@", "plus+", "=", "..."]
    )
    def test_names_of_any_characters(self, store: ObjectStore, name: str) -> None:
        key = f"folder {name}/of {name}"
        with store.stage(key) as staged:
            staged.write(b"0123")
            assert staged.publish()
        assert not store.put_if_absent(key, b"")
        assert store.get(key) == b"0123"
        assert store.size(key) == 4
        assert list(store.keys(f"folder {name}")) == [key]
        store.delete(key)
        assert list(store.keys("")) == []

    def test_hidden_files_are_no_keys(self, store: ObjectStore) -> None:
        for key in ("p/.hidden", "p/.folder/x", "p/x.y"):
            store.put_if_absent(key, b"")
        assert list(store.keys("p")) == ["p/x.y"]

    def test_a_refused_file_can_be_published_later(self, store: ObjectStore) -> None:
        store.put_if_absent("f", b"damaged")
        with store.stage("f") as staged:
            staged.write(b"sound")
            assert not staged.publish()
            store.delete("f")
            assert staged.publish()
        assert store.get("f") == b"sound"

    def test_when_a_file_appeared(self, store: ObjectStore) -> None:
        assert store.modified("f") is None
        store.put_if_absent("f", b"x")
        appeared = store.modified("f")
        assert appeared is not None
        assert abs(appeared - time.time()) < 60

    def test_nothing_is_left_over(self, store: ObjectStore) -> None:
        for key in ("f", "g/h", "g/h"):
            with store.stage(key) as staged:
                staged.write(b"x")
                staged.publish()
        with store.stage("unpublished") as staged:
            staged.write(b"x")
        assert list(store.leftovers()) == []

    def test_sizes_are_those_of_the_keys(self, store: ObjectStore) -> None:
        for key, body in (("p/b", b"12"), ("p/c/d", b""), ("pq/x", b"1")):
            store.put_if_absent(key, body)
        assert list(store.sizes("p")) == [("p/b", 2), ("p/c/d", 0)]
        assert list(store.sizes("nothing")) == []

    def test_names_are_those_directly_in_the_folder(self, store: ObjectStore) -> None:
        for key in ("p/12", "p/2", "p/a", "p/1/1", "p/.1", "pq/1"):
            store.put_if_absent(key, b"")
        assert sorted(store.names("p", "12")) == ["12", "2"]
        for nothing in ("p/12", "absent"):
            assert store.names(nothing, "12") == []

    def test_folders_are_those_directly_below(self, store: ObjectStore) -> None:
        for key in ("p/b/1", "p/a/2/3", "p/a/4", "p/file", "pq/x/1"):
            store.put_if_absent(key, b"")
        assert list(store.folders("p")) == ["a", "b"]
        assert list(store.folders("p/a")) == ["2"]
        for nothing in ("p/file", "absent"):
            assert list(store.folders(nothing)) == []

    def test_delete(self, store: ObjectStore) -> None:
        store.put_if_absent("f", b"x")
        store.delete("f")
        assert store.size("f") is None

    def test_one_of_many_racing_writers_wins(self, store: ObjectStore) -> None:
        won: list[int] = []

        def write(number: int) -> None:
            if store.put_if_absent("race", str(number).encode()):
                won.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get("race") == str(won[0]).encode()

    def test_it_travels_to_other_processes_and_opens_by_url(self, store: ObjectStore) -> None:
        store.put_if_absent("f", b"x")
        assert pickle.loads(pickle.dumps(store)).get("f") == b"x"
        assert open_store(store.url).get("f") == b"x"
