"""DAVIS 2017 semi-supervised and unsupervised, and DAVIS 2016."""

from __future__ import annotations

from downloaders.davis import DAVIS, DAVIS_2016, DAVIS_UNSUPERVISED, FIRST_MASK_SPLITS
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.clip_layout import ClipLayout
from pipelines.normalize.indexed_clips import IndexedClips
from pipelines.normalize.indexed_png import read_binary_mask
from pipelines.normalize.sources import SourceFiles


def davis(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of DAVIS 2017, or of other data with masks of this kind."""
    layout = ClipLayout(
        frames=("JPEGImages/480p", f"{split}/JPEGImages", "JPEGImages"),
        masks=("Annotations/480p", f"{split}/Annotations", "Annotations"),
        lists="ImageSets/2017/*.txt",
        first_masks_only=split in FIRST_MASK_SPLITS,
    )
    return IndexedClips(files, split, options, "davis", DAVIS.entry.licence, layout)


def davis_unsupervised(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of DAVIS 2017 unsupervised: same clips, other objects."""
    layout = ClipLayout(
        frames=("JPEGImages/480p",),
        masks=("Annotations_unsupervised/480p",),
        lists="ImageSets/2017/*.txt",
    )
    licence = DAVIS_UNSUPERVISED.entry.licence
    return IndexedClips(files, split, options, "davis-unsupervised", licence, layout)


def davis_2016(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of a split of DAVIS 2016: one object per clip, in binary masks."""
    layout = ClipLayout(
        frames=("JPEGImages/480p",),
        masks=("Annotations/480p",),
        lists="ImageSets/480p/*.txt",
        read_masks=read_binary_mask,
    )
    return IndexedClips(files, split, options, "davis-2016", DAVIS_2016.entry.licence, layout)
