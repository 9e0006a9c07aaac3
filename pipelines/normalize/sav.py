"""SA-V: train is published as videos, val and test as frames."""

from __future__ import annotations

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.sav_frames import SavFrames
from pipelines.normalize.sav_videos import SavVideos
from pipelines.normalize.sources import SourceFiles


def sa_v(files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
    """Return the normalizer of one split."""
    if split == "train":
        return SavVideos(files, split, options)
    return SavFrames(files, split, options)
