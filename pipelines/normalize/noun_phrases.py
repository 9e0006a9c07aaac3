"""SA-Co annotation files: pairs of an image, or a clip, and a noun phrase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from pipelines.normalize.corpus_files import CorpusFile, NamePattern
from pipelines.normalize.phrases_of import PhraseUse, clean_phrase
from schemas.errors import DataError

T = TypeVar("T")

GOLD = NamePattern(regex=r"gold_(?P<source>\w+)_merged_[abc]_release_test\.json")
SILVER = NamePattern(regex=r"silver_(?P<source>\w+?)(_merged)?_test\.json")
VEVAL = NamePattern(regex=r"saco_veval_(?P<source>\w+)_{split}\.json")


class _Pair(msgspec.Struct, frozen=True, gc=False):
    id: int
    text_input: str


class _PairObject(msgspec.Struct, frozen=True, gc=False):
    image_id: int


class _PairsFile(msgspec.Struct, frozen=True):
    images: list[_Pair]
    annotations: list[_PairObject]


class _ClipPair(msgspec.Struct, frozen=True, gc=False):
    id: int
    noun_phrase: str
    num_masklets: int


class _ClipPairsFile(msgspec.Struct, frozen=True):
    video_np_pairs: list[_ClipPair]


def image_pairs(
    files: Iterable[CorpusFile], pattern: NamePattern, dropped: Counter[str]
) -> Iterator[PhraseUse]:
    """Yield a use for each pair of SA-Co/Gold or Silver; a pair without object is a negative.

    The files of several annotators share pairs: the first by name that has a pair decides it.
    """
    seen: set[tuple[str, int]] = set()
    for file in files:
        source = pattern.source(file) or ""
        found = _decode(file, _PairsFile)
        objects = Counter(item.image_id for item in found.annotations)
        for pair in found.images:
            count = objects.pop(pair.id, 0)
            if (source, pair.id) in seen:
                dropped["repeated_pairs"] += 1
                continue
            seen.add((source, pair.id))
            yield from _use(pair.text_input, source, count, dropped)
        dropped["objects_without_pair"] += objects.total()


def clip_pairs(
    files: Iterable[CorpusFile], pattern: NamePattern, dropped: Counter[str]
) -> Iterator[PhraseUse]:
    """Yield a use for each pair of SA-Co/VEval; objects are masklets."""
    for file in files:
        source = pattern.source(file) or ""
        for pair in _decode(file, _ClipPairsFile).video_np_pairs:
            yield from _use(pair.noun_phrase, source, pair.num_masklets, dropped)


def _decode(file: CorpusFile, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataError(
            f"{file.name} is not an annotation file of SA-Co: {cause}",
            fix="Take the published file again.",
        ) from cause


def _use(text: str, source: str, objects: int, dropped: Counter[str]) -> Iterator[PhraseUse]:
    phrase = clean_phrase(text)
    if not phrase:
        dropped["empty_phrases"] += 1
        return
    yield PhraseUse(phrase, source, objects=objects, negatives=int(objects == 0))
