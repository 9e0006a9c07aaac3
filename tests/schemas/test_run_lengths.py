from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from schemas.masks import encode_mask, mask_areas, mask_boxes, masks_from_texts
from schemas.run_lengths import run_lengths, run_totals


def noise(seed: int, height: int, width: int) -> bytes:
    rng = np.random.default_rng(seed)
    return encode_mask(rng.random((height, width)) < rng.random()).counts


@settings(deadline=None, max_examples=60, derandomize=True)
@given(sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=8))
def test_totals_are_the_pixels_of_each_mask(sizes: list[tuple[int, int]]) -> None:
    texts = [noise(seed, *size) for seed, size in enumerate(sizes)]
    names = [str(number) for number in range(len(texts))]
    assert run_totals(texts, names).tolist() == [height * width for height, width in sizes]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(text=st.binary(max_size=12), place=st.integers(0, 2))
def test_a_bad_text_does_not_change_what_is_said_of_others(text: bytes, place: int) -> None:
    sound = noise(1, 9, 9)
    texts = [sound] * 3
    texts[place] = text
    assert outcome(texts, place) == outcome([text], 0)


def outcome(texts: list[bytes], place: int) -> object:
    """Return the total of one text, or what is said of it."""
    names = ["odd" if number == place else "sound" for number in range(len(texts))]
    try:
        return run_totals(texts, names)[place]
    except DataError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"/", "characters '0' to 'o'"),
        (b"\xff", "characters '0' to 'o'"),
        (b"0o", "a complete last run"),
        (b"oooooooo0", "runs of 7 digits"),
        (b"O", "run lengths >= 0"),
    ],
)
def test_what_pycocotools_would_stumble_over_is_named(text: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=f"^second: RLE counts; expected {expected}"):
        run_totals([noise(1, 5, 5), text, noise(2, 5, 5)], ["first", "second", "third"])


def test_several_masks_are_what_each_is_alone() -> None:
    texts = [noise(seed, 20, 30).decode() for seed in range(5)] + ["hb0"]
    masks = masks_from_texts(texts, 20, 30, list("abcdef"))
    assert mask_areas(masks) == [mask.area for mask in masks]
    assert mask_boxes(masks) == [mask.box for mask in masks]
    assert mask_areas([]) == []
    assert mask_boxes([]) == []
    with pytest.raises(DataError, match=r"^b: RLE runs; expected 600 pixels in all; got 599"):
        masks_from_texts([texts[0], "gb0"], 20, 30, ["a", "b"])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_runs_of_one_text_are_those_of_its_mask(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((23, 31)) < share
    flat = np.concatenate([[False], mask.ravel(order="F"), [not mask[-1, -1]]])
    expected = np.diff(np.flatnonzero(np.diff(flat)), prepend=0)
    assert run_lengths(encode_mask(mask).counts).tolist() == expected.tolist()
