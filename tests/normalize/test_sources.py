from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest

from downloaders.ledger import Ledger, LedgerEntry
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.registry import open_splits
from pipelines.normalize.sources import local_files, path_below
from schemas.errors import IncompleteError, UnknownNameError
from schemas.samples import Source
from tests.normalize.archives import DavisSource, write_folder


def record(folder: Path, name: str) -> str:
    body = (folder / name).read_bytes()
    entry = LedgerEntry(
        name=name,
        kind="file",
        url="https://example.org/" + name,
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        checksum=None,
        verified=False,
        when="2026-01-01T00:00:00+00:00",
        licence="",
        licence_accepted=False,
    )
    Ledger(folder).append(entry)
    return entry.digest


def test_downloaded_archives_are_known_by_their_ledger(tmp_path: Path) -> None:
    source = DavisSource().write(tmp_path / "davis")
    name = "DAVIS-2017-trainval-480p.zip"
    digest = record(source, name)
    found = open_splits("davis", [], tmp_path, LayoutOptions(), downloaded=True)
    assert [normalizer.split for normalizer in found] == ["train", "val"]
    assert found[0].sources() == {name: digest}


def test_downloads_that_are_not_there_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="samdistill download davis --split val"):
        open_splits("davis", ["val"], tmp_path, LayoutOptions(), downloaded=True)
    with pytest.raises(UnknownNameError, match="Did you mean coco"):
        open_splits("cocoo", [], tmp_path, LayoutOptions(), downloaded=True)


def test_hidden_files_are_left_out_but_the_given_folder_may_be_hidden(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / ".mine", {"a/1.jpg": b"x", "a/.2.jpg": b"", ".git/b": b"", "__MACOSX/c": b""}
    )
    files = local_files(folder, "davis", "val")
    assert list(files) == [Source(archive=".mine", member=".mine/a/1.jpg")]
    assert pickle.loads(pickle.dumps(files)).read(next(iter(files))) == b"x"


def test_an_absent_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"nowhere does not exist.*--from"):
        local_files(tmp_path / "nowhere", "davis", "val")


@pytest.mark.parametrize(
    ("member", "folder", "below"),
    [
        ("val2017/1.jpg", "val2017", "1.jpg"),
        ("images/val2017/1.jpg", "val2017", "1.jpg"),
        ("a/b/c/1.jpg", "b/c/", "1.jpg"),
        ("xval2017/1.jpg", "val2017", None),
        ("val2017.jpg", "val2017", None),
    ],
)
def test_path_below(member: str, folder: str, below: str | None) -> None:
    assert path_below(member, folder) == below
