from __future__ import annotations

import json
import pickle

import msgspec
import pytest

from schemas.errors import IdentityError, UnknownNameError, UsageError
from schemas.features import (
    VIEWS,
    FeatureSpec,
    PreprocessSpec,
    TeacherSpec,
    TokenizeSpec,
    checked_views,
    differing_fields,
    find_view,
    split_array_name,
)
from schemas.ids import canonical_json, parse_json
from tests.schemas.mutations import Mutation, leaves, mutations

TEACHER = TeacherSpec(
    architecture="Sam3VideoModel",
    config="c0",
    weights="w0",
    preprocess=PreprocessSpec(image_size=1008),
    tokenize=TokenizeSpec(vocabulary="v0", context=32, pad_id=49407),
    precision="float32",
    attention="sdpa",
    libraries={"torch": "2.14", "transformers": "5.23"},
)


def test_every_field_of_a_teacher_is_mutated_below() -> None:
    paths = {mutation.path for mutation in mutations(TEACHER)}
    assert {path.partition(".another")[0] for path in paths} >= leaves(TeacherSpec)
    assert {"libraries.torch", "preprocess.mean", "tokenize.context"} <= paths


@pytest.mark.parametrize("mutation", mutations(TEACHER), ids=lambda mutation: mutation.path)
def test_any_single_change_is_refused_by_name(mutation: Mutation) -> None:
    assert mutation.record.digest != TEACHER.digest
    assert differing_fields(TEACHER, mutation.record) == [mutation.text]
    with pytest.raises(IdentityError) as refused:
        TEACHER.require_same(mutation.record, "manifest demo")
    assert f"wanted != found: {mutation.text}" in str(refused.value)


def test_a_teacher_that_takes_no_text_is_another_one() -> None:
    blind = msgspec.structs.replace(TEACHER, tokenize=None)
    with pytest.raises(IdentityError, match=r"tokenize: .*'context': 32.* != None"):
        TEACHER.require_same(blind, "manifest demo")


def test_an_identical_rebuild_is_accepted() -> None:
    copy = parse_json(canonical_json(TEACHER), TeacherSpec, "x")
    assert copy.digest == TEACHER.digest
    TEACHER.require_same(copy, "manifest demo")


def test_digest_is_part_of_the_format() -> None:
    """A change here makes every cache in the world unreadable: bump the schema version instead."""
    assert TEACHER.digest == "4d37fd349e7b0506"


def test_item_bytes_of_the_full_trunk() -> None:
    trunk = FeatureSpec(
        name="image.trunk", rows="sample", item_shape=(1024, 72, 72), codec="float16"
    )
    assert trunk.item_bytes == 10_616_832
    assert trunk.array_name == "image.trunk"
    other = msgspec.structs.replace(trunk, codec="bfloat16")
    assert other.array_name == "image.trunk@bfloat16"


def test_a_view_is_part_of_an_array_and_of_its_name() -> None:
    trunk = FeatureSpec(name="image.trunk", rows="sample", item_shape=(4, 2, 2), codec="int8")
    mirrored = msgspec.structs.replace(trunk, view="hflip")
    assert mirrored.array_name == "image.trunk~hflip@int8"
    assert split_array_name(mirrored.array_name) == ("image.trunk", "hflip", "int8")
    assert split_array_name("image.trunk") == ("image.trunk", "", "")
    assert msgspec.to_builtins(mirrored) == msgspec.to_builtins(trunk) | {"view": "hflip"}
    assert differing_fields(trunk, mirrored) == ["view: 'identity' != 'hflip'"]


def test_a_feature_of_images_as_they_are_is_written_as_before_there_were_views() -> None:
    spec = FeatureSpec(name="image.trunk", rows="sample", item_shape=(4, 2, 2), codec="float16")
    written = {"name": "image.trunk", "rows": "sample", "item_shape": [4, 2, 2], "codec": "float16"}
    assert json.loads(canonical_json(spec)) == written
    for same in (
        pickle.loads(pickle.dumps(spec)),
        parse_json(canonical_json(spec), FeatureSpec, "x"),
        msgspec.convert(written | {"view": "identity"}, FeatureSpec),
    ):
        assert same == spec
        assert canonical_json(same) == canonical_json(spec)


def test_views_are_found_by_name() -> None:
    assert [find_view(view) for view in VIEWS] == ["identity", "hflip"]
    with pytest.raises(UnknownNameError, match="Did you mean hflip"):
        find_view("hfilp")
    assert checked_views(["hflip", "identity"]) == ("identity", "hflip")
    with pytest.raises(UsageError, match=r"expected names, as .*; got 'hflip'"):
        checked_views("hflip")
