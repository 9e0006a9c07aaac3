"""The annotated objects of images, as a batch carries them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.stream.shard_tables import ShardTables
from schemas.features import View
from schemas.manifests import ManifestSplit
from schemas.samples import Annotation
from schemas.tables import ANNOTATIONS, mask_from_cell

Objects = tuple[Annotation, ...]
_COLUMNS = [name for name in ANNOTATIONS.names if name not in {"key", "clip", "frame", "area"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What is said of a whole image."""

    captions: tuple[str, ...]
    negatives: tuple[str, ...]
    """Phrases that nothing on the image fits."""


class ObjectReader:
    """Objects and texts of the samples of one split, by row."""

    def __init__(self, store: ObjectStore, published: ManifestSplit) -> None:
        split = published.split
        self._rows_per_shard = split.rows_per_shard

        def annotations_key(shard: int) -> str:
            return layout.annotations_key(split.dataset, split.split, shard)

        def samples_key(shard: int) -> str:
            return layout.samples_key(split.dataset, split.split, shard)

        self._objects = ShardTables(store, published.part, annotations_key, _COLUMNS)
        columns = ["captions", "negatives", "width"]
        self._samples = ShardTables(store, published.part, samples_key, columns)

    def objects(self, row: int, view: View = "identity") -> Objects:
        """Return the objects of a sample, in the order of the table, as this view shows them."""
        shard, slot = divmod(row, self._rows_per_shard)
        table = self._objects.table(shard)
        first, end = np.searchsorted(table["row"].to_numpy(), [slot, slot + 1]).tolist()
        found = [_annotation(cells) for cells in table.slice(first, end - first).to_pylist()]
        if view == "hflip" and found:
            width = self._sample(row)["width"]
            found = [annotation.mirrored(width) for annotation in found]
        return tuple(found)

    def texts(self, row: int) -> Texts:
        """Return the captions and negatives of a sample."""
        cells = self._sample(row)
        return Texts(
            captions=tuple(cells["captions"] or ()), negatives=tuple(cells["negatives"] or ())
        )

    def _sample(self, row: int) -> dict[str, Any]:
        shard, slot = divmod(row, self._rows_per_shard)
        cells: dict[str, Any] = self._samples.table(shard).slice(slot, 1).to_pylist()[0]
        return cells


def _annotation(cells: dict[str, Any]) -> Annotation:
    return Annotation(
        object_id=cells["object_id"],
        mask=mask_from_cell(cells["mask"]),
        box=_numbers(cells["box_xyxy"]),
        category=cells["category"],
        phrases=tuple(cells["phrases"] or ()),
        is_crowd=cells["is_crowd"],
        exhaustive=cells["exhaustive"],
        predicted_iou=cells["predicted_iou"],
        stability=cells["stability"],
        points=tuple(tuple(point) for point in cells["points_xy"] or ()),
        crop_box=_numbers(cells["crop_box_xyxy"]),
    )


def _numbers(cell: list[float] | None) -> Any:  # noqa: ANN401  a box
    return None if cell is None else tuple(cell)
