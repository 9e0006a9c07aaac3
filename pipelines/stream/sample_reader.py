"""Reads one sample, image and features, straight into the rows of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import blake3
import numpy.typing as npt
import torch

from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.objects import ObjectStore
from pipelines.store.published import array_record
from pipelines.stream.samples import SampleIndex
from pipelines.stream.selection import SelectedSplit
from schemas.errors import IncompleteError, IntegrityError, SamdistillError
from schemas.manifests import Manifest


@dataclass(frozen=True, slots=True)
class _SplitFiles:
    dataset: str
    name: str
    arrays: tuple[FeatureArray, ...]


class SampleReader:
    """Reads samples of an index, from many threads at once. Keeps no file open.

    Parameters
    ----------
    verify
        Whether each feature is checked by its crc32c and each image by its blake3.
    """

    def __init__(
        self,
        store: ObjectStore,
        manifest: Manifest,
        splits: Sequence[SelectedSplit],
        index: SampleIndex,
        *,
        verify: bool,
    ) -> None:
        self._store, self._index, self._verify = store, index, verify
        self._splits = [_open_arrays(store, manifest, split) for split in splits]

    def read_features(self, sample: int, rows: Sequence[npt.NDArray[Any]]) -> None:
        """Fill ``rows`` with the sample's features, one each, in their stored type."""
        number, place = self._index.place(sample)
        offsets = self._index.splits[number].features
        arrays = self._splits[number].arrays
        with self._named(sample):
            for array, offset, row in zip(arrays, offsets, rows, strict=True):
                array.read_at(place, int(offset[place]), row, verify=self._verify)

    def read_image(self, sample: int, out_CHW: torch.Tensor) -> None:
        """Fill ``out_CHW``, uint8 of any square size, with the resized image."""
        key = self._index.key(sample)
        with self._named(sample):
            image_HWC = decode_image(self._encoded(sample), key)
            out_CHW.copy_(resize_to_square(image_HWC, out_CHW.shape[-1]))

    def _encoded(self, sample: int) -> bytes:
        number, row = self._index.place(sample)
        index, split = self._index.splits[number], self._splits[number]
        media = layout.media_key(split.dataset, split.name, row // index.rows_per_shard)
        body = bytearray(int(index.size[row]))
        done = self._store.read_into(media, int(index.offset[row]), memoryview(body))
        whole = done == len(body)
        if not whole or (self._verify and _digest(body) != int(index.digest[row])):
            raise IntegrityError(
                f"{media} does not hold the image that was published",
                expected=f"{len(body)} bytes of the recorded blake3",
                got="other bytes" if whole else f"{done} bytes",
                fix="Run `samdistill verify --deep` to find all such files.",
            )
        return bytes(body)

    @contextmanager
    def _named(self, sample: int) -> Iterator[None]:
        """Put the sample's key into any error."""
        try:
            yield
        except SamdistillError as cause:
            raise type(cause)(
                f"sample {self._index.key(sample)}: {cause.what}",
                expected=cause.expected,
                got=cause.got,
                fix=cause.fix,
            ) from cause
        except FileNotFoundError as cause:
            raise IncompleteError(
                f"sample {self._index.key(sample)}: a published file is missing: {cause}",
                fix="Copy the root whole.",
            ) from cause


def _open_arrays(store: ObjectStore, manifest: Manifest, split: SelectedSplit) -> _SplitFiles:
    record = split.published.split
    arrays = [
        FeatureArray(store, array_record(manifest, split.published, feature))
        for feature in split.features
    ]
    return _SplitFiles(record.dataset, record.split, tuple(arrays))


def _digest(body: bytearray) -> int:
    return int.from_bytes(blake3.blake3(body).digest(length=8), "big")
