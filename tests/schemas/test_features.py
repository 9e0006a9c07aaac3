from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.errors import IdentityError
from schemas.features import FeatureSpec, PreprocessSpec, TeacherSpec, TokenizeSpec
from schemas.ids import canonical_json, parse_json

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

# One other value for each field that decides a feature's value.
MUTATIONS: dict[str, Any] = {
    "architecture": "Other",
    "config": "c1",
    "weights": "w1",
    "preprocess.image_size": 1024,
    "preprocess.mean": (0.485, 0.456, 0.406),
    "preprocess.std": (0.229, 0.224, 0.225),
    "tokenize.vocabulary": "v1",
    "tokenize.context": 16,
    "tokenize.pad_id": 0,
    "precision": "bfloat16-autocast",
    "attention": "eager",
    "libraries": {"torch": "2.15", "transformers": "5.23"},
}
ONLY_ONE_VALUE = {"preprocess.resize", "tokenize.cleaning"}


def fields(struct: msgspec.Struct, prefix: str = "") -> set[str]:
    names = set()
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        inner = isinstance(value, msgspec.Struct)
        names |= fields(value, f"{prefix}{name}.") if inner else {prefix + name}
    return names


def mutate(path: str) -> TeacherSpec:
    head, _, tail = path.partition(".")
    value = MUTATIONS[path]
    if tail:
        value = msgspec.structs.replace(getattr(TEACHER, head), **{tail: value})
    return msgspec.structs.replace(TEACHER, **{head: value})


def test_every_field_of_a_teacher_is_mutated_below() -> None:
    assert fields(TEACHER) == MUTATIONS.keys() | ONLY_ONE_VALUE


@pytest.mark.parametrize("path", MUTATIONS)
def test_any_single_change_is_refused_by_name(path: str) -> None:
    other = mutate(path)
    assert other.digest != TEACHER.digest
    with pytest.raises(IdentityError, match=path):
        TEACHER.require_same(other, "manifest demo")


def test_an_identical_rebuild_is_accepted() -> None:
    copy = parse_json(canonical_json(TEACHER), TeacherSpec, "x")
    assert copy.digest == TEACHER.digest
    TEACHER.require_same(copy, "manifest demo")


def test_digest_is_part_of_the_format() -> None:
    """A change here makes every cache in the world unreadable: bump the schema version instead."""
    assert TEACHER.digest == "4d37fd349e7b0506"


def test_item_bytes_of_the_full_trunk() -> None:
    trunk = FeatureSpec(name="image.trunk", rows="sample", item_shape=(1024, 72, 72))
    assert trunk.item_bytes == 10_616_832
    assert trunk.array_name == "image.trunk"
    other = msgspec.structs.replace(trunk, codec="bfloat16")
    assert other.array_name == "image.trunk@bfloat16"
