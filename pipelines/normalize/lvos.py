"""LVOS v1 and v2: long clips; the second version holds many clips of the first."""

from __future__ import annotations

from downloaders.base import DatasetEntry
from downloaders.lvos import LVOS_V1, LVOS_V2
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.clip_layout import ClipLayout
from pipelines.normalize.indexed_clips import IndexedClips
from pipelines.normalize.sources import SourceFiles

# The publisher's own texts and archives do not agree on the name of the split.
_FOLDERS = {"val": ("val", "valid"), "valid": ("valid", "val")}


def lvos_v1(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of the first version."""
    return _lvos(files, split, options, LVOS_V1.entry)


def lvos_v2(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of the second version."""
    return _lvos(files, split, options, LVOS_V2.entry)


def _lvos(
    files: SourceFiles, split: str, options: LayoutOptions, entry: DatasetEntry
) -> Normalizer:
    folders = _FOLDERS.get(split, (split,))
    meta = tuple(f"{folder}_meta.json" for folder in folders)
    captions = tuple(f"{folder}_expression_meta.json" for folder in folders)
    layout = ClipLayout(
        frames=tuple(f"{folder}/JPEGImages" for folder in folders),
        masks=tuple(f"{folder}/Annotations" for folder in folders),
        meta=meta + tuple(f"{folder}/meta.json" for folder in folders),
        captions=captions,
        first_masks_only=split == "test",
    )
    # Their publisher keeps these files apart from the archives.
    files = files.with_beside(meta + captions)
    return IndexedClips(files, split, options, entry.name, entry.licence, layout)
