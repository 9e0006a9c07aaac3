from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipelines.store.local import LocalObjectStore
from pipelines.store.published import open_manifest
from pipelines.stream.selection import (
    choose_features,
    only_teacher,
    require_teacher,
    select_splits,
)
from schemas.errors import IdentityError, UnknownNameError, UsageError
from tests.stream.published_root import TEACHER, RootPlan, build_root

OTHER = msgspec.structs.replace(TEACHER, weights="w1", attention="eager")


def test_the_teacher_asked_for_is_returned(store: LocalObjectStore) -> None:
    manifest, _ = open_manifest(store, "tiny")
    assert require_teacher(manifest, TEACHER) == TEACHER
    assert require_teacher(manifest, TEACHER.digest) == TEACHER


def test_another_teacher_is_refused_by_field(store: LocalObjectStore) -> None:
    manifest, _ = open_manifest(store, "tiny")
    with pytest.raises(IdentityError) as caught:
        require_teacher(manifest, OTHER)
    assert "attention: 'eager' != 'sdpa'; weights: 'w1' != 'w0'" in str(caught.value)


def test_another_digest_is_refused_with_the_one_that_is_there(store: LocalObjectStore) -> None:
    manifest, _ = open_manifest(store, "tiny")
    with pytest.raises(IdentityError, match=rf"{OTHER.digest}.*got teachers {TEACHER.digest}"):
        require_teacher(manifest, OTHER.digest)


def test_two_teachers_need_a_choice(store: LocalObjectStore) -> None:
    manifest, _ = open_manifest(store, "tiny")
    both = {TEACHER.digest: TEACHER, OTHER.digest: OTHER}
    manifest = msgspec.structs.replace(manifest, teachers=both)
    with pytest.raises(UsageError, match="does not say which teacher"):
        only_teacher(manifest)
    assert require_teacher(manifest, OTHER.digest) == OTHER
    with pytest.raises(UsageError, match="does not say which teacher"):
        choose_features(manifest, ("image.trunk",))
    for wanted in (("image.trunk",), {"mine": "image.trunk"}):
        choices = choose_features(manifest, wanted, TEACHER.digest)
        assert [choice.teacher for choice in choices] == [TEACHER]
        assert list(select_splits(manifest, choices)[0].features) == list(wanted)


def test_arrays_of_two_teachers_go_by_names_of_ones_own(store: LocalObjectStore) -> None:
    manifest, _ = open_manifest(store, "tiny")
    (split,) = manifest.splits
    other = msgspec.structs.replace(split.features[0], teacher=OTHER.digest)
    split = msgspec.structs.replace(split, features=(*split.features, other))
    both = {TEACHER.digest: TEACHER, OTHER.digest: OTHER}
    manifest = msgspec.structs.replace(manifest, teachers=both, splits=(split,))
    wanted = {"a": f"image.trunk/{TEACHER.digest}", "b": f"image.trunk/{OTHER.digest}"}
    (found,) = select_splits(manifest, choose_features(manifest, wanted))
    assert [found.features[name].teacher for name in "ab"] == [TEACHER.digest, OTHER.digest]


def test_a_feature_named_twice_is_refused(store: LocalObjectStore) -> None:
    manifest, _ = open_manifest(store, "tiny")
    with pytest.raises(UsageError, match="expected each once"):
        choose_features(manifest, ("image.trunk", "image.trunk"))


def test_splits_without_the_feature_are_left_out(own_root: Path) -> None:
    store = build_root(own_root, RootPlan(splits={"train": 2, "val": 2}))
    manifest, _ = open_manifest(store, "tiny")
    train, val = manifest.splits
    val = msgspec.structs.replace(val, features=())
    manifest = msgspec.structs.replace(manifest, splits=(train, val))
    choices = choose_features(manifest, ("image.trunk",))
    assert [split.place for split in select_splits(manifest, choices)] == ["toy/train"]
    with pytest.raises(UsageError, match=r"split toy/val .* has no image.trunk"):
        select_splits(manifest, choices, ["toy/val"])
    with pytest.raises(UnknownNameError, match="Did you mean toy/train"):
        select_splits(manifest, choices, ["toy/trian"])
    assert len(select_splits(manifest, ())) == 2
