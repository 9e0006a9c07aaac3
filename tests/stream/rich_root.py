"""A root of real photographs and clips, with every kind of feature, published as ``all``."""

from __future__ import annotations

from pathlib import Path

from pipelines.jobs.publish import publish, select
from pipelines.store.local import LocalObjectStore
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import build_root

MEMORY = ("memory.maskmem", "memory.object_pointer", "memory.object_score")
ALBUM, CAMERA = "album/val", "camera/val"


def build_rich_root(root: Path) -> LocalObjectStore:
    store = LocalObjectStore(root)
    build_root(store, ColourTeacher())
    publish(store, "all", select(store, []))
    return store
