"""DAVIS 2017, semi-supervised."""

from __future__ import annotations

from downloaders.davis import DAVIS
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.indexed_clips import ClipLayout, IndexedClips
from pipelines.normalize.sources import SourceFiles

LAYOUT = ClipLayout(
    frames=("JPEGImages/480p", "{split}/JPEGImages", "JPEGImages"),
    masks=("Annotations/480p", "{split}/Annotations", "Annotations"),
    clip_list="ImageSets/2017/{split}.txt",
)
"""The last two of each are for other data with masks of this kind."""


def davis(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of one split."""
    return IndexedClips(files, split, options, "davis", DAVIS.entry.licence, LAYOUT)
