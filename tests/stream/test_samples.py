from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import open_manifest
from pipelines.stream.samples import SampleIndex, open_index
from pipelines.stream.selection import SelectedSplit, choose_features, select_splits
from schemas.errors import (
    DataError,
    IncompleteError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from schemas.manifests import FileRecord, Manifest
from tests.stream.published_root import RootPlan, all_keys, build_root

VERSIONS = pytest.mark.parametrize("indexed", [True, False], ids=["version 2", "version 1"])


def index_of(store: LocalObjectStore, *features: str) -> SampleIndex:
    manifest, _ = open_manifest(store, "tiny")
    return open_index(store, manifest, selected(manifest, *features))


def selected(manifest: Manifest, *features: str) -> tuple[SelectedSplit, ...]:
    return select_splits(manifest, choose_features(manifest, features or ("image.trunk",)))


def places_of(index: SampleIndex) -> list[tuple[int, int]]:
    numbers, rows = index.place(np.arange(len(index)))
    return list(zip(numbers.tolist(), rows.tolist(), strict=True))


def keys_of(index: SampleIndex) -> list[str]:
    return [index.key(number, row) for number, row in places_of(index)]


@VERSIONS
def test_all_splits_in_order_with_their_places(own_root: Path, indexed: bool) -> None:
    plan = RootPlan(splits={"train": 6, "val": 5}, indexed=indexed)
    index = index_of(build_root(own_root, plan))
    assert keys_of(index) == all_keys(plan)
    assert places_of(index) == [(0, row) for row in range(6)] + [(1, row) for row in range(5)]


@VERSIONS
def test_quarantined_rows_of_either_kind_are_left_out(own_root: Path, indexed: bool) -> None:
    plan = RootPlan(
        bad_images=frozenset({"train-1"}), bad_features=frozenset({"train-6"}), indexed=indexed
    )
    index = index_of(build_root(own_root, plan))
    assert keys_of(index) == [key for key in all_keys(plan) if key not in {"train-1", "train-6"}]
    split = index.splits[0]
    assert (split.size[split.starts] > 0).all()


@VERSIONS
def test_only_listed_shards_exist(own_root: Path, indexed: bool) -> None:
    plan = RootPlan(unlisted_shards=frozenset({1}), indexed=indexed)
    index = index_of(build_root(own_root, plan))
    assert keys_of(index) == [f"train-{row}" for row in (0, 1, 2, 3, 8, 9, 10)]


@VERSIONS
def test_nothing_to_train_on_is_refused_with_the_reason(own_root: Path, indexed: bool) -> None:
    plan = RootPlan(splits={"train": 3})
    keys = frozenset(all_keys(plan))
    bad = RootPlan(splits={"train": 3}, bad_features=keys, indexed=indexed)
    with pytest.raises(UsageError, match="3 rows in 1 shards, none of them sound in all"):
        index_of(build_root(own_root, bad))


def test_unknown_feature_names_the_nearest(store: LocalObjectStore) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean image.trunk"):
        index_of(store, "image.trunc")


def test_a_table_that_was_changed_after_publishing_is_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan(indexed=False))
    path = own_root / layout.samples_key("toy", "train", 1)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(IntegrityError, match=r"samples-00001.parquet is not as it was published"):
        index_of(store)


def test_a_missing_table_is_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan(indexed=False))
    (own_root / layout.samples_key("toy", "train", 2)).unlink()
    with pytest.raises(IncompleteError, match=r"samples-00002.parquet is published but missing"):
        index_of(store)


def _records(store: LocalObjectStore) -> list[FileRecord]:
    manifest, _ = open_manifest(store, "tiny")
    split = manifest.splits[0]
    records = [split.index, split.features[0].index]
    return [record for record in records if record is not None]


@pytest.mark.parametrize("number", [0, 1], ids=["samples", "feature"])
def test_an_index_that_was_changed_is_refused(own_root: Path, number: int) -> None:
    store = build_root(own_root, RootPlan())
    path = own_root / _records(store)[number].key
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(IntegrityError, match=f"{path.name} is not as it was published"):
        index_of(store)


@pytest.mark.parametrize("number", [0, 1], ids=["samples", "feature"])
def test_a_missing_index_is_refused(own_root: Path, number: int) -> None:
    store = build_root(own_root, RootPlan())
    key = _records(store)[number].key
    (own_root / key).unlink()
    with pytest.raises(IncompleteError, match=f"{key} is published but missing"):
        index_of(store)


def test_an_index_in_the_place_of_another_is_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan())
    manifest, _ = open_manifest(store, "tiny")
    (split,) = selected(manifest)
    published = msgspec.structs.replace(split.published, index=_records(store)[1])
    with pytest.raises(DataError, match=r"expected one batch of offset, size, digest, key"):
        open_index(store, manifest, [SelectedSplit(published=published, by_view=split.by_view)])


def test_features_of_another_split_are_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan(splits={"train": 4, "val": 8}))
    manifest, _ = open_manifest(store, "tiny")
    train, val = selected(manifest)
    mixed = SelectedSplit(published=train.published, by_view=val.by_view)
    with pytest.raises(IntegrityError, match="cache and publish again"):
        open_index(store, manifest, [mixed])
