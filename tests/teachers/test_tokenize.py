from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.teachers import tokenize as module
from pipelines.teachers.tokenize import clean, tokenize, tokenize_spec
from schemas.errors import IntegrityError, UsageError

START, END = 49406, 49407

# What open_clip's SimpleTokenizer, which is SAM3's own tokenizer, gives for these phrases.
GOLDEN = [
    ("cat", [2368]),
    ("a yellow school bus", [320, 4481, 1228, 2840]),
    ("person riding a skateboard", [2533, 6765, 320, 31777]),
    ("T-shirt", [339, 268, 2523]),
    ("the dog's bowl", [518, 1929, 568, 3814]),
    ("DON'T WALK", [847, 713, 2374]),
    ("3 red apples, 12 pears", [274, 736, 14032, 267, 272, 273, 39565]),
    ("", []),
    ("   \t\n ", []),
    ("!", [256]),
    ("!(", [0, 263]),
    ("!!!", [995]),
    ("a!b", [320, 256, 321]),
    ("caf\xe9", [15304]),
    ("CAF\xc9", [15304]),
    ("na\xefve \xc5ngstr\xf6m", [1097, 35689, 563, 23176, 10352, 807, 7255, 332]),
    ("\xc3\xa9clair", [3459, 14039]),
    ("rock &amp; roll", [2172, 261, 3341]),
    ("rock &amp;amp; roll", [2172, 261, 3341]),
    ("&lt;b&gt;", [283, 321, 285]),
    ("e&#769;", [4166]),
    ("x\xb2", [343, 41175]),
    ("\u2167", [158, 227, 371]),
    ("\ufb01sh", [2759]),
    ("\u6f22\u5b57", [162, 120, 95, 35751, 501]),
    ("\u0643\u0644\u0645\u0629", [33499, 14251, 12986, 20915]),
    ("\U0001f642\U0001f44d\U0001f3fd", [32006, 43722]),
    ("a\u200bb", [320, 9844, 321]),
    ("a\xa0b", [320, 321]),
    ("a\x00b", [3937]),
    ("it''s", [585, 8445, 338]),
    ("we'LL", [649, 1342]),
    ("\u2019s", [568]),
    ("''", [8445]),
]


@pytest.mark.parametrize(("phrase", "expected"), GOLDEN)
def test_ids_are_those_of_the_original_tokenizer(phrase: str, expected: list[int]) -> None:
    tokens = tokenize([phrase], 32)
    assert tokens.ids_PT[0][tokens.mask_PT[0] == 1].tolist() == [START, *expected, END]


def test_the_mask_comes_from_lengths_not_from_ids() -> None:
    tokens = tokenize(["!("], 6)
    assert tokens.ids_PT.tolist() == [[START, 0, 263, END, END, END]]
    assert tokens.mask_PT.tolist() == [[1, 1, 1, 1, 0, 0]]


def test_a_long_phrase_is_cut_and_keeps_its_end() -> None:
    assert tokenize(["a yellow school bus"], 4).ids_PT.tolist() == [[START, 320, 4481, END]]
    tokens = tokenize(["red " * 40], 32)
    assert tokens.ids_PT.tolist() == [[START, *[736] * 30, END]]
    assert tokens.mask_PT.all()


def test_a_phrase_that_fits_exactly_is_whole() -> None:
    assert tokenize(["a yellow school bus"], 6).ids_PT.tolist() == [
        [START, 320, 4481, 1228, 2840, END]
    ]


@pytest.mark.parametrize("mark", ["<|endoftext|>", "<|startoftext|>", "<end_of_text>"])
def test_no_phrase_can_forge_a_mark(mark: str) -> None:
    tokens = tokenize([f"cat {mark} dog"], 32)
    words = tokens.ids_PT[0][tokens.mask_PT[0] == 1][1:-1]
    assert not {START, END} & set(words.tolist())


def test_phrases_keep_their_order() -> None:
    tokens = tokenize(["cat", "dog", "cat"], 8)
    assert tokens.ids_PT[:, 1].tolist() == [2368, 1929, 2368]
    assert tokenize([], 8).ids_PT.shape == (0, 8)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.text(max_size=60), st.integers(2, 40))
def test_any_text_becomes_marked_tokens(phrase: str, context: int) -> None:
    tokens = tokenize([phrase], context)
    ids, mask = tokens.ids_PT[0], tokens.mask_PT[0]
    length = int(mask.sum())
    assert ids.shape == mask.shape == (context,)
    assert (ids[0], ids[length - 1]) == (START, END)
    assert (mask[:length] == 1).all()
    assert (ids[length:] == END).all()
    assert all(0 <= word < START for word in ids[1 : length - 1])


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.text(alphabet=st.characters(max_codepoint=0x7E), max_size=40))
def test_case_and_spaces_do_not_count(phrase: str) -> None:
    spaced = f"  {phrase.upper()}\t\n"
    if "&" not in phrase:  # entities are case-sensitive
        np.testing.assert_array_equal(tokenize([phrase], 64).ids_PT, tokenize([spaced], 64).ids_PT)


def test_clean_repairs_unescapes_and_lowers() -> None:
    assert clean(" Caf\xc3\xa9  &amp;amp;\n BAR ") == "caf\xe9 & bar"


def test_refuses_a_context_without_room_for_the_marks() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        tokenize(["cat"], 1)


def test_spec_names_the_vocabulary() -> None:
    spec = tokenize_spec(16)
    assert (spec.context, spec.pad_id, len(spec.vocabulary)) == (16, END, 64)


def test_a_damaged_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / module.VOCABULARY_FILE).write_bytes(b"damaged")
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    module._merges_text.cache_clear()
    try:
        with pytest.raises(IntegrityError, match="damaged"):
            module._merges_text()
    finally:
        module._merges_text.cache_clear()
