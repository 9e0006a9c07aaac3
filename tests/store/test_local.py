from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.store.open import open_store
from schemas.errors import StorageError, UsageError
from tests.contracts.object_store_contract import ObjectStoreContract


class TestLocalObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalObjectStore:
        return LocalObjectStore(tmp_path / "root")


def test_root_that_is_a_file_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(UsageError, match="is a file"):
        open_store(str(tmp_path / "f"))


def test_unwritable_root_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(StorageError, match="cannot create a in"):
        LocalObjectStore(tmp_path / "f" / "below").put_if_absent("a", b"")


def test_root_that_cannot_be_made_says_what_to_do() -> None:
    with pytest.raises(StorageError, match=r"cannot create a in /proc/none.*--root"):
        LocalObjectStore("/proc/none").put_if_absent("a", b"")


def test_full_disk_leaves_nothing_visible(tmp_path: Path) -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does."""
    store = LocalObjectStore(tmp_path)
    with (
        pytest.raises(StorageError, match=r"cannot write a: No space left.*Free space"),
        store.stage("a") as staged,
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        staged.file = full
        staged.write(b"x")
    assert list(tmp_path.iterdir()) == []


WRITER = """
import os, signal, sys
from pipelines.store.local import LocalObjectStore
with LocalObjectStore(sys.argv[1]).stage("a/b") as staged:
    staged.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = Path(tmp_path, "a").iterdir()
    store = LocalObjectStore(tmp_path)
    # It may be of a writer that has not locked it yet.
    assert store.put_if_absent("a/b", b"whole")
    assert left.exists()
    os.utime(left, (0, 0))
    assert store.put_if_absent("a/bb", b"other")
    assert left.exists()
    assert not store.put_if_absent("a/b", b"whole")
    assert sorted(path.name for path in Path(tmp_path, "a").iterdir()) == ["b", "bb"]


def test_what_a_living_writer_holds_stays(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    with store.stage("a") as slow:
        slow.write(b"slow")
        (held,) = tmp_path.iterdir()
        os.utime(held, (0, 0))
        with store.stage("a"):
            assert held.exists()
        assert slow.publish()
    assert store.get("a") == b"slow"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    left = tmp_path / ".a.0.tmp"
    left.touch()
    os.utime(left, (0, 0))
    assert LocalObjectStore(tmp_path).put_if_absent("a", b"whole")
    assert left.exists()
