from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import open_manifest
from pipelines.stream.samples import SampleIndex, build_index
from pipelines.stream.selection import SelectedSplit, select_splits
from schemas.errors import IncompleteError, IntegrityError, UnknownNameError, UsageError
from tests.stream.published_root import TEACHER, RootPlan, all_keys, build_root


def index_of(store: LocalObjectStore, *features: str) -> SampleIndex:
    manifest, _ = open_manifest(store, "tiny")
    splits = select_splits(manifest, features or ("image.trunk",), TEACHER)
    return build_index(store, splits, threads=2)


def keys_of(index: SampleIndex) -> list[str]:
    return [index.key(sample) for sample in range(len(index))]


def test_all_splits_in_order_with_their_places(own_root: Path) -> None:
    plan = RootPlan(splits={"train": 6, "val": 5})
    index = index_of(build_root(own_root, plan))
    assert keys_of(index) == all_keys(plan)
    assert index.split.tolist() == [0] * 6 + [1] * 5
    assert index.shard.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1]
    assert index.slot.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0]


def test_quarantined_rows_of_either_kind_are_left_out(own_root: Path) -> None:
    plan = RootPlan(bad_images=frozenset({"train-1"}), bad_features=frozenset({"train-6"}))
    index = index_of(build_root(own_root, plan))
    assert keys_of(index) == [key for key in all_keys(plan) if key not in {"train-1", "train-6"}]
    assert (index.size > 0).all()


def test_only_listed_shards_exist(own_root: Path) -> None:
    plan = RootPlan(unlisted_shards=frozenset({1}))
    index = index_of(build_root(own_root, plan))
    assert np.unique(index.shard).tolist() == [0, 2]
    assert keys_of(index) == [f"train-{row}" for row in (0, 1, 2, 3, 8, 9, 10)]


def test_nothing_to_train_on_is_refused_with_the_reason(own_root: Path) -> None:
    plan = RootPlan(splits={"train": 3})
    bad = RootPlan(splits={"train": 3}, bad_features=frozenset(all_keys(plan)))
    with pytest.raises(UsageError, match="3 rows in 1 shards, all quarantined"):
        index_of(build_root(own_root, bad))


def test_no_common_shard_is_refused_with_the_reason(own_root: Path) -> None:
    plan = RootPlan(splits={"train": 3}, unlisted_shards=frozenset({0}))
    with pytest.raises(UsageError, match="no shard that is published with all features"):
        index_of(build_root(own_root, plan))


def test_unknown_feature_names_the_nearest(store: LocalObjectStore) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean image.trunk"):
        index_of(store, "image.trunc")


def test_features_without_a_row_per_sample_are_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan(feature="text.tokens"))
    with pytest.raises(UsageError, match=r"text.tokens cannot be streamed by sample"):
        index_of(store, "text.tokens")


def test_table_that_was_changed_after_publishing_is_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan())
    path = own_root / layout.samples_key("toy", "train", 1)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(IntegrityError, match=r"samples-00001.parquet is not as it was published"):
        index_of(store)


def test_missing_table_is_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan())
    (own_root / layout.samples_key("toy", "train", 2)).unlink()
    with pytest.raises(IncompleteError, match=r"samples-00002.parquet is published but missing"):
        index_of(store)


def test_missing_part_is_refused(own_root: Path) -> None:
    store = build_root(own_root, RootPlan())
    manifest, _ = open_manifest(store, "tiny")
    key = manifest.splits[0].part.file.key
    (own_root / key).unlink()
    with pytest.raises(IncompleteError, match=f"{key} is published but missing"):
        index_of(store)


def test_features_cached_from_other_rows_are_refused(own_root: Path) -> None:
    """Rows of another split in this place: same shape, other keys."""
    store = build_root(own_root, RootPlan(splits={"train": 4, "val": 4}))
    manifest, _ = open_manifest(store, "tiny")
    train, val = select_splits(manifest, ("image.trunk",), TEACHER)
    mixed = SelectedSplit(published=train.published, features=val.features)
    with pytest.raises(IntegrityError, match="lists other samples than"):
        build_index(store, [mixed], threads=1)
