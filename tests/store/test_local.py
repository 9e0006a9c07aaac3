from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import open_store
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
