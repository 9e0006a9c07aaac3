"""Image features: stills, or frames of clips, through the teacher's trunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from pipelines.engine.prefetch import prefetch
from pipelines.jobs.forward import Forward
from pipelines.jobs.overlap import BusyTime
from pipelines.jobs.unit_writer import UnitWriter
from pipelines.media.preprocess import resize_to_square
from pipelines.media.stored import StoredPictures
from pipelines.media.views import view_image
from pipelines.store.splits import Split, StoredSample
from pipelines.teachers.base import DeviceFeatures, Teacher
from schemas.errors import DataError
from schemas.features import View


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardImages:
    """The images of one shard as the teacher takes them."""

    split: Split
    shard: int
    size: int
    """Side of the square, in pixels."""
    busy: BusyTime
    view: View = "identity"
    pictures: StoredPictures = field(default_factory=StoredPictures)

    def read(self, sample: StoredSample) -> torch.Tensor:
        """Return the image as uint8 ``[3, size, size]``; ``DataError`` when it is damaged."""
        with self.busy.measure("decode"):
            read = partial(self.split.read_image, self.shard, sample)
            picture = self.pictures.decode(sample, read)
            return resize_to_square(view_image(picture, self.view), self.size)

    def try_read(self, sample: StoredSample) -> torch.Tensor | str:
        """Return the image, or why there is none."""
        try:
            return self.read(sample)
        except DataError as error:
            return str(error).removeprefix(f"{sample.key}: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEncoder:
    """Fills the arrays whose rows are samples."""

    batch: int = 8
    decode_threads: int = 2
    view: View = "identity"

    def encode(self, teacher: Teacher, split: Split, shard: int, writer: UnitWriter) -> None:
        """See ``Encoder.encode``."""
        images = ShardImages(
            split=split,
            shard=shard,
            size=teacher.spec.preprocess.image_size,
            busy=writer.busy,
            view=self.view,
        )
        missing = set(writer.missing("sample"))
        samples = [sample for sample in split.samples(shard) if sample.row in missing]
        self.encode_samples(teacher, images, samples, writer)

    def encode_samples(
        self,
        teacher: Teacher,
        images: ShardImages,
        samples: Sequence[StoredSample],
        writer: UnitWriter,
    ) -> None:
        """Compute these samples, in batches of consecutive images that can be decoded."""
        for sample in samples:
            if sample.quarantine is not None:
                writer.leave_out("sample", [sample.row], sample.quarantine)

        wanted = writer.features("sample")

        def call(batch: Sequence[torch.Tensor]) -> DeviceFeatures:
            return teacher.encode_on_device(writer.device.upload(batch), wanted)

        forward = Forward(call, "sample", writer)
        sound = [sample for sample in samples if sample.quarantine is None]
        for rows, batch in self._batches(images, sound, writer):
            forward.run(rows, batch)

    def _batches(
        self, images: ShardImages, samples: Sequence[StoredSample], writer: UnitWriter
    ) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
        """Yield rows and images of full batches, then of a last one; quarantine what is damaged."""
        rows: list[int] = []
        batch: list[torch.Tensor] = []
        for sample, image in zip(samples, self.read_ahead(images, samples, writer), strict=True):
            if isinstance(image, str):
                writer.quarantine("sample", [sample.row], image)
                continue
            rows.append(sample.row)
            batch.append(image)
            if len(batch) == self.batch:
                yield rows, batch
                rows, batch = [], []
        if batch:
            yield rows, batch

    def read_ahead(
        self, images: ShardImages, samples: Iterable[StoredSample], writer: UnitWriter
    ) -> Iterator[torch.Tensor | str]:
        """Yield each image or the reason why there is none; two batches ahead of their use."""
        return prefetch(
            images.try_read,
            samples,
            threads=self.decode_threads,
            ahead=2 * self.batch,
            waiting=partial(writer.waiting, "decode"),
        )
