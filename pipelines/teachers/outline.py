"""The shapes of a teacher's features, from its configuration alone: no weights are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import Sam3VideoConfig

from pipelines.teachers.base import make_feature
from pipelines.teachers.load import TINY
from pipelines.teachers.sam3 import feature_shapes
from pipelines.teachers.tiny import tiny_teacher_folder
from schemas.features import FeatureSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherOutline:
    """What can be said of a teacher before it is there."""

    shapes: dict[str, tuple[int, ...]]
    is_sam3: bool
    """Whether it has the size of the official SAM3, for which figures are recorded."""

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        """See ``Teacher.feature``."""
        return make_feature(name, self.shapes, codec)


def outline_teacher(name: str, *, context: int = 32, cache: Path | None = None) -> TeacherOutline:
    """Return the outline of ``tiny``, of a local folder, or of SAM3 for a name on the hub."""
    official = feature_shapes(Sam3VideoConfig(), context)
    folder = tiny_teacher_folder(cache) if name == TINY else Path(name)
    shapes = official
    if folder.is_dir():
        shapes = feature_shapes(Sam3VideoConfig.from_pretrained(folder), context)
    return TeacherOutline(shapes=shapes, is_sam3=shapes == official)
