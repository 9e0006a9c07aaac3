"""The phrases of a batch, each once, with their text features. Suffixes: P phrases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipelines.store import layout
from pipelines.store.listed import read_listed_table
from pipelines.store.objects import ObjectStore
from pipelines.stream.indexed_array import IndexedArray
from pipelines.stream.objects import Objects, Texts
from pipelines.stream.stored_rows import empty_rows, typed
from schemas.errors import IntegrityError
from schemas.manifests import SplitRecord

Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phrases:
    """The phrases of a batch; images and objects refer to them by number."""

    texts: tuple[str, ...]
    """Each phrase once."""
    features: dict[str, torch.Tensor]
    """By the caller's names, ``[P, *item]`` as stored."""
    present: torch.Tensor
    """bool ``[P]``: whether the teacher's features are there; they are zeros otherwise."""
    objects: tuple[tuple[Numbers, ...], ...]
    """By image, by object: the phrases that name it."""
    captions: tuple[Numbers, ...]
    """By image."""
    negatives: tuple[Numbers, ...]
    """By image: phrases that nothing on it fits."""


class PhraseReader:
    """Text features of the phrases of one split."""

    def __init__(
        self,
        store: ObjectStore,
        split: SplitRecord,
        arrays: Mapping[str, IndexedArray],
        *,
        verify: bool,
    ) -> None:
        self._store, self._split, self.arrays = store, split, dict(arrays)
        self._verify = verify

    def rows(self, texts: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the row of each phrase in the text arrays."""
        return np.array([self._row(text) for text in texts], dtype=np.int64)

    def read(
        self,
        texts: Sequence[str],
        places: npt.NDArray[np.int64],
        out: Mapping[str, npt.NDArray[Any]],
        present: npt.NDArray[np.bool_],
        threads: Executor,
    ) -> None:
        """Fill ``out[name][place]`` with the features of ``texts[i]`` for each of ``places``."""
        rows = self.rows(texts)
        for name, array in self.arrays.items():
            found = array.present[rows]
            present[places[~found]] = False
            kept, targets = rows[found], places[found]
            names = [texts[place] for place in np.flatnonzero(found).tolist()]
            view = np.empty((len(kept), *out[name].shape[1:]), dtype=out[name].dtype)
            work = array.start(
                threads,
                kept,
                view,
                np.arange(len(kept)),
                verify=self._verify,
                name=lambda place, names=names: f"phrase {names[place]!r}",  # type: ignore[misc]
            )
            for future in work:
                future.result()
            out[name][targets] = view

    def _row(self, text: str) -> int:
        """Find a phrase; they are sorted by code point, as Python compares strings."""
        low, high = 0, len(self._texts)
        while low < high:
            middle = (low + high) // 2
            if str(self._texts[middle]) < text:
                low = middle + 1
            else:
                high = middle
        if low == len(self._texts) or str(self._texts[low]) != text:
            raise IntegrityError(
                f"phrase {text!r} is not in the table of {self._split.dataset}/{self._split.split}",
                fix="Normalize the split anew.",
            )
        return low

    @cached_property
    def _texts(self) -> pa.Array:
        key = layout.phrases_key(self._split.dataset, self._split.split)
        record = next(file for file in self._split.files if file.key == key)
        column = read_listed_table(self._store, record, ["phrase"])["phrase"]
        return column.cast(pa.large_string()).combine_chunks()


def gather_phrases(
    readers: Sequence[PhraseReader],
    numbers: npt.NDArray[np.int64],
    objects: Sequence[Objects],
    texts: Sequence[Texts],
    threads: Executor,
) -> Phrases:
    """Number the phrases of a batch, and read the features of each.

    Parameters
    ----------
    numbers
        The split of each image. A phrase of two splits is two phrases: each split has its own row.
    """
    known: dict[tuple[int, str], int] = {}

    def number(split: int, phrases: Iterable[str]) -> Numbers:
        return tuple(known.setdefault((split, phrase), len(known)) for phrase in phrases)

    splits = numbers.tolist()
    by_object = tuple(
        tuple(number(split, item.phrases) for item in items)
        for split, items in zip(splits, objects, strict=True)
    )
    captions = tuple(number(s, text.captions) for s, text in zip(splits, texts, strict=True))
    negatives = tuple(number(s, text.negatives) for s, text in zip(splits, texts, strict=True))
    specs = {name: array.array.feature for name, array in readers[0].arrays.items()}
    stored = {name: empty_rows(len(known), spec) for name, spec in specs.items()}
    present = np.ones(len(known), dtype=np.bool_)
    for split, reader in enumerate(readers):
        mine = [(place, text) for (owner, text), place in known.items() if owner == split]
        if mine:
            places = np.array([place for place, _ in mine], dtype=np.int64)
            out = {name: rows.numpy() for name, rows in stored.items()}
            reader.read([text for _, text in mine], places, out, present, threads)
    return Phrases(
        texts=tuple(text for _, text in known),
        features={name: typed(rows, specs[name]) for name, rows in stored.items()},
        present=torch.from_numpy(present),
        objects=by_object,
        captions=captions,
        negatives=negatives,
    )
