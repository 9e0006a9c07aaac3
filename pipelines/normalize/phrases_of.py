"""Phrases without images: what a corpus yields, and the one rule by which phrases are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipelines.normalize.base import Normalizer


@dataclass(frozen=True, slots=True)
class PhraseUse:
    """One place where a phrase is used, with what it does there."""

    phrase: str
    """As ``clean_phrase`` returns it; never empty."""
    source: str | None = None
    """Part of a corpus that it comes from; None for the phrases of images."""
    objects: int = 0
    """Objects that it names here."""
    captions: int = 0
    """1 when it is the caption of an image."""
    negatives: int = 0
    """1 when nothing on this image fits it."""


@runtime_checkable
class PhraseCorpus(Normalizer, Protocol):
    """A normalizer of media ``text``: it has no groups, and yields phrases instead."""

    def uses(self, dropped: Counter[str]) -> Iterator[PhraseUse]:
        """Yield every use, in an order that is a function of the source alone.

        Parameters
        ----------
        dropped
            Gets the number of records that are left out, by reason, once the iterator has ended.
        """
        ...


def clean_phrase(text: str) -> str:
    r"""Return ``text`` on one line: white space at the ends goes, inside it becomes one blank.

    Case stays: a teacher lowers it by itself if it wants to (SAM3 does), and another may not.

    >>> clean_phrase(" a Red\n  car ")
    'a Red car'
    """
    return " ".join(text.split())
