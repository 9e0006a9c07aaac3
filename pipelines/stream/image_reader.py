"""Reads images of a split, straight into the rows of a batch. H height, W width, C channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import blake3
import numpy as np
import numpy.typing as npt
import torch

from pipelines.media.decode import decode_checked
from pipelines.media.images import Image_HWC, decode_image
from pipelines.media.preprocess import Resize_HWC
from pipelines.media.stored import decode_stored
from pipelines.media.views import view_image
from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from pipelines.stream.augment import Augment
from pipelines.stream.naming import named
from pipelines.stream.runs import Places, find_runs
from pipelines.stream.samples import SplitIndex
from schemas.errors import IntegrityError, SamdistillError
from schemas.features import View
from schemas.manifests import SplitRecord

Rows = npt.NDArray[np.int64]


class ImageReader:
    """Reads images of one split, from many threads at once. Keeps no file open.

    Parameters
    ----------
    resize
        Brings an image to the size of the batch as the teacher of the features does.
    verify
        Whether each image is checked by its blake3.
    augment
        Changes images after they were resized.
    """

    def __init__(
        self,
        store: ObjectStore,
        split: SplitRecord,
        index: SplitIndex,
        *,
        resize: Resize_HWC,
        verify: bool,
        augment: Augment | None,
    ) -> None:
        self._store, self._split, self._index = store, split, index
        self._resize, self._verify, self._augment = resize, verify, augment

    def runs(self, rows: Rows) -> list[Places]:
        """Return the places in ``rows`` grouped by the requests that read them."""
        shards = rows // self._index.rows_per_shard
        sizes = self._index.size[rows].astype(np.int64)
        return find_runs(shards, self._index.offset[rows], sizes)

    def read(
        self,
        rows: Rows,
        out_BCHW: torch.Tensor,
        sizes: npt.NDArray[np.int32],
        places: Places,
        draws: Callable[[int], np.random.Generator],
        views: Sequence[View],
    ) -> None:
        """Fill ``out_BCHW[place]`` and ``sizes[place]`` (width, height) for each place of a run.

        Parameters
        ----------
        draws
            What augmentation may draw from, by place.
        views
            What is shown of the image, by place.
        """
        try:
            encoded = self._encoded(rows[places])
        except (SamdistillError, FileNotFoundError):
            # One by one, to name the image that is at fault; a passing fault may be over.
            encoded = []
            for place in places.tolist():
                with named(self._name(int(rows[place]))):
                    encoded += self._encoded(rows[[place]])
        for place, body in zip(places.tolist(), encoded, strict=True):
            with named(self._name(int(rows[place]))):
                image_HWC = self._decode(body, str(self._index.keys[int(rows[place])]))
                sizes[place] = image_HWC.shape[1], image_HWC.shape[0]
                shown_HWC = view_image(image_HWC, views[place])
                resized_CHW = self._resize(shown_HWC, out_BCHW.shape[-1], out_BCHW[place])
                if self._augment is not None:
                    resized_CHW.copy_(self._augment(resized_CHW, draws(place)))

    def _decode(self, encoded: memoryview, key: str) -> Image_HWC:
        """Decode what is known to be the published bytes by the faster of two equal decoders."""
        decode = decode_checked if self._verify else decode_image
        return decode_stored(bytes(encoded), key, decode)

    def _encoded(self, rows: Rows) -> list[memoryview]:
        """Return the encoded images of one run, by one read."""
        index = self._index
        begins = index.offset[rows] - index.offset[rows[0]]
        ends = begins + index.size[rows]
        shard = int(rows[0]) // index.rows_per_shard
        media = layout.media_key(self._split.dataset, self._split.split, shard)
        body = memoryview(bytearray(int(ends[-1])))
        done = self._store.read_into(media, int(index.offset[rows[0]]), body)
        images = [
            body[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]
        for row, image, end in zip(rows.tolist(), images, ends.tolist(), strict=True):
            whole = done >= end
            if not whole or (self._verify and _digest(image) != int(index.digest[row])):
                raise IntegrityError(
                    f"{media} does not hold the image that was published",
                    expected=f"{len(image)} bytes of the recorded blake3",
                    got="other bytes" if whole else f"{max(0, done - end + len(image))} bytes",
                    fix="Run `samdistill verify --deep` to find all such files.",
                )
        return images

    def _name(self, row: int) -> str:
        return f"sample {self._index.keys[row]}"


def _digest(body: Any) -> int:  # noqa: ANN401  any buffer
    return int.from_bytes(blake3.blake3(body).digest(length=8), "big")
