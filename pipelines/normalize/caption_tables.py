"""Captions in parquet files, streamed by the ``datasets`` library: local or from the hub."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import pyarrow as pa

from pipelines.normalize.phrases_of import PhraseUse, clean_phrase
from schemas.errors import DataError, DownloadError

CAPTION_COLUMNS = ("re_caption", "recaption", "text", "caption")
"""What a table of captions may call them, the best first."""
_SEGMENT_COLUMNS = ("caption", "segments_info")
_BATCH = 1000


def caption_uses(places: Sequence[str], dropped: Counter[str]) -> Iterator[PhraseUse]:
    """Yield a use for each row of the tables, from the first caption column that they have."""
    with tempfile.TemporaryDirectory(prefix="samdistill-") as cache:
        names = _columns(places, cache)
        column = next((name for name in CAPTION_COLUMNS if name in names), None)
        if column is None:
            raise _no_column(places, " or ".join(CAPTION_COLUMNS), names)
        for row in _rows(places, [column], cache):
            yield from _use(PhraseUse(row[column] or "", column, captions=1), dropped)


def segment_uses(places: Sequence[str], dropped: Counter[str]) -> Iterator[PhraseUse]:
    """Yield the captions of images and of their segments (SACap)."""
    with tempfile.TemporaryDirectory(prefix="samdistill-") as cache:
        names = _columns(places, cache)
        if not set(_SEGMENT_COLUMNS) <= set(names):
            raise _no_column(places, " and ".join(_SEGMENT_COLUMNS), names)
        for row in _rows(places, list(_SEGMENT_COLUMNS), cache):
            yield from _use(PhraseUse(row["caption"] or "", "image", captions=1), dropped)
            for segment in row["segments_info"] or ():
                yield from _segment(segment, dropped)


def _segment(segment: dict[str, Any], dropped: Counter[str]) -> Iterator[PhraseUse]:
    """Yield what names one segment; only some tables have a short caption beside the long one."""
    yield from _use(PhraseUse(segment["caption"] or "", "segment", objects=1), dropped)
    if short := segment.get("short_caption"):
        yield from _use(PhraseUse(short, "short", objects=1), dropped)


def _use(use: PhraseUse, dropped: Counter[str]) -> Iterator[PhraseUse]:
    phrase = clean_phrase(use.phrase)
    if phrase:
        yield PhraseUse(phrase, use.source, use.objects, use.captions)
    else:
        dropped["empty_phrases"] += 1


def _columns(places: Sequence[str], cache: str) -> list[str]:
    table = _open(places, cache)
    return list(table.column_names or next(iter(table), {}))


def _rows(places: Sequence[str], columns: list[str], cache: str) -> Iterator[dict[str, Any]]:
    """Yield the rows in order. Only these columns are read: tables may embed images."""
    table = _open(places, cache, columns)
    try:
        for batch in table.iter(batch_size=_BATCH):
            values = [batch[name] for name in columns]
            for row in zip(*values, strict=True):
                yield dict(zip(columns, row, strict=True))
    except (pa.ArrowException, OSError) as cause:
        raise _unreadable(places, cause) from cause


def _open(
    places: Sequence[str], cache: str, columns: list[str] | None = None
) -> datasets.IterableDataset:
    try:
        return datasets.load_dataset(
            "parquet",
            data_files=list(places),
            split="train",
            streaming=True,
            cache_dir=cache,
            columns=columns,
        )
    except (pa.ArrowException, OSError) as cause:
        raise _unreadable(places, cause) from cause


def _unreadable(places: Sequence[str], cause: Exception) -> DataError | DownloadError:
    reason = str(cause).partition("\n")[0].rstrip(".")
    if places[0].startswith("hf://"):
        return DownloadError(
            f"cannot stream {places[0]}: {reason}",
            fix="Check the network and HF_TOKEN, or give parquet files that you have by --from.",
        )
    return DataError(f"cannot read {', '.join(places[:3])} as parquet: {reason}")


def _no_column(places: Sequence[str], wanted: str, names: Sequence[str]) -> DataError:
    return DataError(
        f"{places[0]} has no captions", expected=f"a column {wanted}", got=", ".join(names)
    )
