from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError, UnknownNameError
from schemas.ids import (
    canonical_json,
    digest_bytes,
    frame_key,
    nearest_name,
    parse_json,
    sample_key,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int


@given(values)
def test_canonical_json_round_trips_and_is_stable(value: object) -> None:
    body = canonical_json(value)
    assert msgspec.json.decode(body) == value
    assert canonical_json(msgspec.json.decode(body)) == body


def test_canonical_json_does_not_depend_on_insertion_order() -> None:
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


def test_digest_is_blake3() -> None:
    # The empty-input test vector of the BLAKE3 reference.
    expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest_bytes(b"") == expected


@pytest.mark.parametrize("body", [b"", b"{", b'{"number": "x"}', b'{"number": 1, "more": 2}'])
def test_parse_json_names_the_file(body: bytes) -> None:
    with pytest.raises(DataError, match=r"commits/00001\.json is not a valid Record"):
        parse_json(body, Record, "commits/00001.json")


@given(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True))
def test_legal_keys_pass(name: str) -> None:
    assert sample_key(name) == name
    assert frame_key(name, "00000").split(".") == [name, "00000"]


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "../a", "a b", "ä", "a\n"])
def test_keys_that_would_break_a_tar_are_refused(name: str) -> None:
    with pytest.raises(DataError):
        sample_key(name)


def test_nearest_name_suggests() -> None:
    error = nearest_name("data set", "cocco", ["coco", "davis"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "unknown data set 'cocco'. Did you mean coco?"


def test_nearest_name_lists_all_when_none_is_near() -> None:
    assert str(nearest_name("data set", "zzz", ["coco", "davis"])).endswith("Known: coco, davis.")
