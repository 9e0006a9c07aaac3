from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.store.open import open_store
from schemas.errors import StorageError, UsageError
from tests.chaos.small_disk import small_disk
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


@pytest.fixture
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS: the file system has no files without a name."""
    opened = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return opened(path, flags, mode)

    monkeypatch.setattr("os.open", refuse)


@pytest.mark.usefixtures("_named")
class TestLocalObjectStoreWithHiddenFiles(TestLocalObjectStore):
    def test_it_writes_hidden_files(self, store: LocalObjectStore) -> None:
        with store.stage("a/b"):
            assert [item.key for item in store.leftovers()] == ["a/b"]


def test_a_staged_file_has_no_name(tmp_path: Path) -> None:
    with LocalObjectStore(tmp_path).stage("a") as staged:
        staged.write(b"x")
        assert list(tmp_path.iterdir()) == []


WRITER = """
import errno, os, signal, sys
from pipelines.store import local
if sys.argv[2] == "named":
    local._open_nameless = lambda folder: None
with local.LocalObjectStore(sys.argv[1]).stage("a/b") as staged:
    staged.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_what_a_killed_writer_leaves(tmp_path: Path, kind: str) -> None:
    ended = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), kind], check=False)
    assert ended.returncode == -signal.SIGKILL
    store = LocalObjectStore(tmp_path)
    left = list(store.leftovers())
    assert [(item.key, item.bytes) for item in left] == ([("a/b", 4)] if kind == "named" else [])
    assert all(store.discard(item) for item in left)
    assert list(Path(tmp_path, "a").iterdir()) == []


@pytest.mark.usefixtures("_named")
def test_what_a_living_writer_holds_stays(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    with store.stage("a") as slow:
        slow.write(b"slow")
        (held,) = store.leftovers()
        assert not store.discard(held)
        assert slow.publish()
    assert store.get("a") == b"slow"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert store.discard(held)


@pytest.mark.usefixtures("_named")
def test_without_locks_age_alone_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    store = LocalObjectStore(tmp_path)
    with store.stage("a"):
        (held,) = store.leftovers()
        assert store.discard(held)


def test_only_our_hidden_files_are_leftovers(tmp_path: Path) -> None:
    for name in (".a.tmp", ".git", f"a.{'0' * 32}.tmp", f".a.{'0' * 31}.tmp"):
        (tmp_path / name).touch()
    assert list(LocalObjectStore(tmp_path).leftovers()) == []


def test_a_really_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kibibytes=1024) as disk:
        store = LocalObjectStore(disk)
        assert store.put_if_absent("a", bytes(600_000))
        with pytest.raises(StorageError, match=r"cannot write b: No space left.*Free space"):
            store.put_if_absent("b", bytes(600_000))
        assert [path.name for path in disk.iterdir()] == ["a"]
        store.delete("a")
        assert store.put_if_absent("b", bytes(600_000))
