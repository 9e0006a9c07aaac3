"""From a phrase to token ids, as SAM3's own tokenizer does it.

``bpe_simple_vocab_16e6.txt.gz`` is the vocabulary of OpenAI's CLIP, unchanged; see VOCABULARY.md.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import ftfy
import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from schemas.errors import IntegrityError, UsageError
from schemas.features import TokenizeSpec
from schemas.ids import digest_bytes

VOCABULARY_FILE = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"

START_ID, END_ID = 49406, 49407
PAD_ID = END_ID
"""As the transformers checkpoint pads. Text features of real tokens do not depend on it."""

_MERGES = 49152 - 256 - 2
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Phrases as token ids. P counts phrases, T the tokens of the context."""

    ids_PT: npt.NDArray[np.int64]
    mask_PT: npt.NDArray[np.uint8]
    """1 for a real token. Taken from the lengths: ``!`` has id 0, so ids cannot tell padding."""


def clean(phrase: str) -> str:
    """Return the phrase as CLIP reads it: repaired, unescaped twice, one space, lower case."""
    repaired = html.unescape(html.unescape(ftfy.fix_text(phrase)))
    return " ".join(repaired.split()).lower()


def tokenize(phrases: Sequence[str], context: int) -> Tokens:
    """Return start mark, tokens, end mark and padding for each phrase.

    A phrase longer than ``context`` is cut and keeps its end mark.
    """
    if context < 2:
        raise UsageError("text context", expected="at least 2 tokens", got=context)
    ids = np.full((len(phrases), context), PAD_ID, dtype=np.int64)
    mask = np.zeros((len(phrases), context), dtype=np.uint8)
    encoder = _encoder()
    for row, phrase in enumerate(phrases):
        words = encoder.encode(clean(phrase)).ids[: context - 2]
        ids[row, : len(words) + 2] = [START_ID, *words, END_ID]
        mask[row, : len(words) + 2] = 1
    return Tokens(ids_PT=ids, mask_PT=mask)


def tokenize_spec(context: int) -> TokenizeSpec:
    """Return what identifies this tokenization."""
    return TokenizeSpec(vocabulary=digest_bytes(_merges_text()), context=context, pad_id=PAD_ID)


@functools.cache
def _encoder() -> Tokenizer:
    """Build the byte-pair encoder. It knows no special tokens, so no phrase can contain one."""
    lines = _merges_text().decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    symbols = _byte_symbols()
    names = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *map("".join, merges)]
    vocabulary = {name: number for number, name in enumerate(names)}
    encoder = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    encoder.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return encoder


@functools.cache
def _merges_text() -> bytes:
    packed = resources.files(__package__).joinpath(VOCABULARY_FILE).read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != VOCABULARY_SHA256:
        raise IntegrityError(
            f"{VOCABULARY_FILE} of this installation is damaged",
            expected=f"sha256 {VOCABULARY_SHA256}",
            got=found,
            fix="Install samdistill again.",
        )
    return gzip.decompress(packed)


def _byte_symbols() -> list[str]:
    """Return the visible character that stands for each byte, in the order of their token ids.

    Bytes that print stand for themselves and come first; the others follow as U+0100 upwards.
    """
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = len(set(range(256)) - set(printing))
    return [chr(code) for code in [*printing, *range(0x100, 0x100 + hidden)]]
