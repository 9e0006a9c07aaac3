"""MOSE v1 and v2: one layout, other clips."""

from __future__ import annotations

from downloaders.base import DatasetEntry
from downloaders.mose import MOSE_V1, MOSE_V2
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.clip_layout import ClipLayout
from pipelines.normalize.indexed_clips import IndexedClips
from pipelines.normalize.sources import SourceFiles


def mose_v1(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of the first version."""
    return _mose(files, split, options, MOSE_V1.entry)


def mose_v2(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of the second version."""
    return _mose(files, split, options, MOSE_V2.entry)


def _mose(
    files: SourceFiles, split: str, options: LayoutOptions, entry: DatasetEntry
) -> Normalizer:
    meta = (f"meta_{split}.json",)
    layout = ClipLayout(
        frames=(f"{split}/JPEGImages",),
        masks=(f"{split}/Annotations",),
        meta=meta,
        first_masks_only=split != "train",
    )
    files = files.with_beside(meta)
    return IndexedClips(files, split, options, entry.name, entry.licence, layout)
