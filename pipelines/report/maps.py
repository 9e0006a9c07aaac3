"""Reads the feature maps behind the pictures of a split, and gives them colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipelines.report.pca import ColourBasis, Float32, fit_basis
from pipelines.report.pictures import png_uri
from pipelines.store.arrays import FeatureArray
from pipelines.store.published import array_record
from pipelines.store.splits import Split
from schemas.manifests import Manifest, ManifestSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A stored image by shard and row."""

    shard: int
    row: int


def find_arrays(split: Split, manifest: Manifest, published: ManifestSplit) -> list[FeatureArray]:
    """Return the published arrays of a split, in the order of the manifest."""
    return [
        FeatureArray(split.store, array_record(manifest, published, feature))
        for feature in published.features
    ]


class TrunkColours:
    """The trunk of the shown images as small pictures, one colour basis for all of them."""

    def __init__(self, array: FeatureArray, rows: Sequence[ShownRow]) -> None:
        self._array = array
        self._padded = array.record.teacher.preprocess.pads
        self._rows = [row for row in rows if array.reader(row.shard).present[row.row]]
        self.basis: ColourBasis | None = fit_basis(self._maps)

    @property
    def grid(self) -> str:
        """The size of the map, as ``72 x 72``."""
        return " \N{MULTIPLICATION SIGN} ".join(map(str, self._array.feature.item_shape[1:]))

    def uri(self, row: ShownRow, width: int, height: int) -> str | None:
        """Return the picture, one pixel per token; None when the row holds no features.

        ``width`` and ``height`` are those of the image: of a padded square only its part is shown.
        """
        if self.basis is None or row not in self._rows:
            return None
        colours = self.basis.colours(self._read(row))
        if self._padded:
            rows, columns = colours.shape[:2]
            side = max(width, height)
            colours = colours[: -(-rows * height // side), : -(-columns * width // side)]
        return png_uri(Image.fromarray(np.ascontiguousarray(colours)))

    def _maps(self) -> Iterator[Float32]:
        return map(self._read, self._rows)

    def _read(self, row: ShownRow) -> Float32:
        values: Float32 = self._array.read(
            [row.shard * self._array.record.rows_per_shard + row.row]
        )[0]
        return values
