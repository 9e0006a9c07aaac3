from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.store import layout
from pipelines.store.commits import put_identical
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import (
    find_manifest,
    manifest_names,
    manifest_versions,
    open_manifest,
    read_part,
)
from pipelines.store.tables import encode_table, table_record
from schemas.errors import DataError, IncompleteError, IntegrityError, UnknownNameError, UsageError
from schemas.ids import canonical_json, digest_bytes
from schemas.manifests import Manifest, PartRecord
from schemas.tables import SHARD_FILES


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path / "root")
    for name, versions in (("demo", 12), ("train", 1)):
        body = canonical_json(Manifest(name=name, teachers={}, splits=()))
        for version in range(1, versions + 1):
            store.put_if_absent(layout.manifest_key(name, version), body)
    store.put_if_absent(layout.part_key("demo", "1234"), b"a part, not a manifest")
    return store


def test_lists_names_and_versions_by_number(store: LocalObjectStore) -> None:
    assert manifest_names(store) == ["demo", "train"]
    assert manifest_versions(store, "demo") == list(range(1, 13))


@pytest.mark.parametrize(
    ("reference", "version"), [("demo", 12), ("demo@latest", 12), ("demo@3", 3), ("train", 1)]
)
def test_finds_the_latest_or_the_one_asked_for(
    store: LocalObjectStore, reference: str, version: int
) -> None:
    found = find_manifest(store, reference)
    assert found.key == layout.manifest_key(found.manifest.name, version)
    assert found.version == version
    assert found.digest == digest_bytes(store.get(found.key))
    assert open_manifest(store, reference) == (found.manifest, found.digest)
    assert find_manifest(store, found.reference) == found


def test_an_unknown_name_lists_the_nearest(store: LocalObjectStore) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean train"):
        find_manifest(store, "trian")


@pytest.mark.parametrize("reference", ["demo@99", "demo@newest", "demo@0", "demo@-1"])
def test_an_unknown_version_is_refused(store: LocalObjectStore, reference: str) -> None:
    with pytest.raises(UsageError):
        find_manifest(store, reference)


def test_an_empty_root_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="samdistill publish demo"):
        find_manifest(LocalObjectStore(tmp_path / "none"), "demo@1")


def test_a_file_that_is_no_manifest_is_named(store: LocalObjectStore) -> None:
    key = layout.manifest_key("train", 2)
    store.put_if_absent(key, b'{"name": "train"}')
    with pytest.raises(DataError, match=key):
        find_manifest(store, "train")


def test_a_part_must_be_the_one_that_was_published(store: LocalObjectStore) -> None:
    row = {"shard": 0, "rows": 3, "key": "a/b", "bytes": 5, "blake3": "ff"}
    body = encode_table([row], SHARD_FILES)
    file = table_record(layout.part_key("demo", digest_bytes(body)), body)
    put_identical(store, file, body)
    part = PartRecord(file=file, shards=1, rows=3, data_bytes=5)
    assert read_part(store, part).to_pylist() == [row]
    (store.root / file.key).write_bytes(encode_table([{**row, "bytes": 6}], SHARD_FILES))
    with pytest.raises(IntegrityError, match="has changed"):
        read_part(store, part)


def test_a_missing_part_names_key_and_remedy(store: LocalObjectStore) -> None:
    file = table_record(layout.part_key("demo", "gone"), b"")
    with pytest.raises(IncompleteError, match=f"{file.key} is published but missing.*Copy"):
        read_part(store, PartRecord(file=file, shards=1, rows=3, data_bytes=5))
