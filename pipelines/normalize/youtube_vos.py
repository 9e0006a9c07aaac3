"""YouTube-VOS 2018 and 2019: one layout, other clips in valid and test."""

from __future__ import annotations

from downloaders.youtube_vos import YOUTUBE_VOS_2018, YOUTUBE_VOS_2019
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.clip_layout import ClipLayout
from pipelines.normalize.indexed_clips import IndexedClips
from pipelines.normalize.sources import SourceFiles


def youtube_vos_2018(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of the 2018 version."""
    entry = YOUTUBE_VOS_2018.entry
    return IndexedClips(files, split, options, entry.name, entry.licence, _layout(split))


def youtube_vos_2019(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of the 2019 version."""
    entry = YOUTUBE_VOS_2019.entry
    return IndexedClips(files, split, options, entry.name, entry.licence, _layout(split))


def _layout(split: str) -> ClipLayout:
    # Splits of all frames have no annotations of their own: they are those of every fifth frame.
    annotated = split.removesuffix("_all_frames")
    return ClipLayout(
        frames=(f"{split}/JPEGImages",),
        masks=(f"{annotated}/Annotations",),
        meta=(f"{annotated}/meta.json",),
        first_masks_only=annotated != "train",
    )
