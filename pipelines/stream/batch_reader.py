"""How threads fill a batch. Suffixes: B items, T frames, C channels, H height, W width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.store.objects import ObjectStore
from pipelines.stream.allowance import Allowance
from pipelines.stream.augment import checked_augments
from pipelines.stream.batches import Batch
from pipelines.stream.buffers import BufferPool
from pipelines.stream.image_reader import ImageReader
from pipelines.stream.indexed_array import open_array
from pipelines.stream.memory import COLUMNS as MEMORY_COLUMNS
from pipelines.stream.memory import Memory, memory_of
from pipelines.stream.object_rows import ObjectRowReader, gather_rows
from pipelines.stream.objects import ObjectReader, Objects
from pipelines.stream.options import StreamOptions
from pipelines.stream.phrases import PhraseReader, Phrases, gather_phrases
from pipelines.stream.prompts import COLUMNS as PROMPT_COLUMNS
from pipelines.stream.prompts import Prompts, prompts_of
from pipelines.stream.samples import SampleIndex
from pipelines.stream.selection import SelectedSplit, shared_resize
from pipelines.stream.shown_views import shown_views
from pipelines.stream.stored_rows import stored_dtype, typed
from schemas.features import RowKind, View
from schemas.manifests import Manifest

Rows = npt.NDArray[np.int64]
_GATHERERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The parts of a batch whose size depends on what is in it."""

    objects: tuple[Objects, ...] | None = None
    phrases: Phrases | None = None
    memory: Memory | None = None
    prompts: Prompts | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Images:
    """Where each image of a batch is, and what is shown of it."""

    numbers: Rows
    """Of its split."""
    rows: Rows
    """In its split."""
    keys: tuple[str, ...]
    views: tuple[View, ...]

    def by_array(self) -> Iterator[tuple[int, View, Rows]]:
        """Yield the places of the images of each split that show the same view."""
        pairs = list(zip(self.numbers.tolist(), self.views, strict=True))
        for pair in dict.fromkeys(pairs):
            yield *pair, np.flatnonzero([other == pair for other in pairs])


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingBatch:
    """A batch that threads are filling."""

    batch: dict[str, Any]
    work: tuple[Future[None], ...]
    records: Future[Records] | None

    def result(self) -> Batch:
        """Wait until the batch is full, or raise what its first failed part raised."""
        for future in self.work:
            future.result()
        records = self.records.result() if self.records else Records()
        return Batch(
            **self.batch,
            objects=records.objects,
            phrases=records.phrases,
            memory=records.memory,
            prompts=records.prompts,
        )


@dataclass(slots=True)
class Threads:
    """Threads that read, some that wait for them, and one that begins batches when there is room.

    Never in one pool, where all might wait.
    """

    count: int
    batches: int
    """That may be in memory."""
    readers: ThreadPoolExecutor = field(init=False)
    gatherers: ThreadPoolExecutor = field(init=False)
    starter: ThreadPoolExecutor = field(init=False)
    allowance: Allowance = field(init=False)

    def __post_init__(self) -> None:
        self.allowance = Allowance(self.batches)
        self.starter = ThreadPoolExecutor(1, thread_name_prefix="samples-start")
        self.readers = ThreadPoolExecutor(self.count, thread_name_prefix="samples")
        self.gatherers = ThreadPoolExecutor(_GATHERERS, thread_name_prefix="samples-gather")

    def close(self) -> None:
        """End them; what has not begun is dropped."""
        self.allowance.close()
        self.starter.shutdown(cancel_futures=True)
        self.readers.shutdown(cancel_futures=True)
        self.gatherers.shutdown(cancel_futures=True)


class BatchReader:
    """Starts batches: a task for each image and each run of rows that one request reads."""

    def __init__(
        self,
        manifest: Manifest,
        splits: Sequence[SelectedSplit],
        index: SampleIndex,
        options: StreamOptions,
    ) -> None:
        self._index, self._options = index, options
        self._frames = options.windows.frames if options.windows else 1
        store, augment = options.store, checked_augments(options.augment)
        self._specs = {name: item.feature for name, item in splits[0].features.items()}
        self._objects = [ObjectReader(store, split.published) for split in splits]
        self._phrases = _phrase_readers(store, manifest, splits, verify=options.verify)
        self._memory = _row_readers(store, manifest, splits, "object_frame", MEMORY_COLUMNS)
        self._prompts = _row_readers(store, manifest, splits, "prompt", PROMPT_COLUMNS)
        self._wants_phrases = options.phrases or bool(splits[0].of_kind("phrase"))
        self._wants_records = bool(
            options.annotations or self._wants_phrases or self._memory or self._prompts
        )
        self._pools = {
            name: self._pool(spec.stored_shape, stored_dtype(spec))
            for name, spec in splits[0].specs("sample").items()
        }
        self._images: list[ImageReader] = []
        self._image_pool = None
        if options.image_size is not None:
            resize = shared_resize(manifest, splits[0])
            self._images = [
                ImageReader(
                    store,
                    split.published.split,
                    indexed,
                    resize=resize,
                    verify=options.verify,
                    augment=augment,
                )
                for split, indexed in zip(splits, index.splits, strict=True)
            ]
            shape = (3, options.image_size, options.image_size)
            self._image_pool = self._pool(shape, np.dtype(np.uint8))

    def start(
        self, threads: Threads, items: Rows, positions: Rows, end: int, lease: object = None
    ) -> PendingBatch:
        """Let ``threads`` read ``items``, which stand at ``positions``, into a new batch.

        Parameters
        ----------
        end
            Position of the stream after the batch.
        lease
            Is held for as long as the batch's memory is.
        """
        images = self._images_of(items, positions)
        work: list[Future[None]] = []
        batch: dict[str, Any] = {
            "keys": images.keys,
            "views": images.views,
            "indices": items,
            "position": end,
            "specs": self._specs,
            "features": {},
        }
        for name, pool in self._pools.items():
            stored = pool.take(lease)[: len(items)]
            work += self._start_feature(threads.readers, name, images, stored)
            batch["features"][name] = typed(stored, self._specs[name])
        if self._image_pool is not None:
            pixels = self._image_pool.take(lease)[: len(items)]
            batch["images_BCHW"] = pixels
            batch["sizes"] = np.zeros((len(images.rows), 2), dtype=np.int32)
            flat = pixels.reshape(-1, *pixels.shape[-3:])
            work += self._start_images(threads.readers, images, flat, batch["sizes"], positions)
        records = None
        if self._wants_records:
            records = threads.gatherers.submit(self._gather, threads.readers, images)
        return PendingBatch(batch=batch, work=tuple(work), records=records)

    def _images_of(self, items: Rows, positions: Rows) -> _Images:
        """Return the images that these items stand for."""
        numbers, rows = self._index.place(items)
        numbers = np.repeat(numbers, self._frames)
        rows = (rows[:, None] + np.arange(self._frames)).reshape(-1)
        shown = shown_views(self._options.views, self._options.seed, positions)
        return _Images(
            numbers=numbers,
            rows=rows,
            keys=tuple(map(self._index.key, numbers.tolist(), rows.tolist())),
            views=tuple(view for view in shown for _ in range(self._frames)),
        )

    def _start_feature(
        self, threads: Executor, name: str, images: _Images, stored: torch.Tensor
    ) -> list[Future[None]]:
        out = stored.numpy().reshape(len(images.rows), *self._specs[name].stored_shape)
        work = []
        for number, view, mine in images.by_array():
            array = self._index.splits[number].arrays[view][name]
            work += array.start(
                threads,
                images.rows,
                out,
                mine,
                verify=self._options.verify,
                name=lambda place: f"sample {images.keys[place]}",
            )
        return work

    def _start_images(
        self,
        threads: Executor,
        images: _Images,
        out_BCHW: torch.Tensor,
        sizes: npt.NDArray[np.int32],
        positions: Rows,
    ) -> list[Future[None]]:
        def draws(place: int) -> np.random.Generator:
            item, frame = divmod(place, self._frames)
            identity = (self._options.seed % 2**64, int(positions[item]), frame)
            return np.random.default_rng(identity)

        work = []
        for number in np.unique(images.numbers).tolist():
            reader, mine = self._images[number], np.flatnonzero(images.numbers == number)
            work += [
                threads.submit(
                    reader.read, images.rows, out_BCHW, sizes, mine[run], draws, images.views
                )
                for run in reader.runs(images.rows[mine])
            ]
        return work

    def _gather(self, threads: Executor, images: _Images) -> Records:
        options = self._options
        numbers, rows, keys = images.numbers, images.rows, images.keys
        pairs = list(zip(numbers.tolist(), rows.tolist(), strict=True))
        objects, phrases, memory, prompts = None, None, None, None
        if options.annotations or self._wants_phrases or self._prompts:
            # What only names phrases and prompts need not be mirrored.
            views: list[View] = [
                view if options.annotations else "identity" for view in images.views
            ]
            objects = tuple(threads.map(self._read_objects, pairs, views))
        if self._wants_phrases:
            texts = tuple(threads.map(lambda at: self._objects[at[0]].texts(at[1]), pairs))
            phrases = gather_phrases(self._phrases, numbers, objects or (), texts, threads)
        verify = options.verify
        if self._memory:
            memory = memory_of(
                gather_rows(self._memory, numbers, rows, keys, threads, verify=verify)
            )
        if self._prompts:
            found = gather_rows(self._prompts, numbers, rows, keys, threads, verify=verify)
            prompts = prompts_of(found, objects or (), keys)
        return Records(
            objects=objects if options.annotations else None,
            phrases=phrases,
            memory=memory,
            prompts=prompts,
        )

    def _read_objects(self, place: tuple[int, int], view: View) -> Objects:
        number, row = place
        return self._objects[number].objects(row, view)

    def _pool(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> BufferPool:
        options = self._options
        frames = (options.windows.frames,) if options.windows else ()
        lead = (options.batch_size, *frames)
        keep = options.prefetch + 1
        return BufferPool((*lead, *shape), dtype, keep=keep, pinned=options.pin_memory)


def _phrase_readers(
    store: ObjectStore, manifest: Manifest, splits: Sequence[SelectedSplit], *, verify: bool
) -> list[PhraseReader]:
    return [
        PhraseReader(
            store,
            split.published.split,
            {
                name: open_array(store, manifest, split.published, feature)
                for name, feature in split.of_kind("phrase").items()
            },
            verify=verify,
        )
        for split in splits
    ]


def _row_readers(
    store: ObjectStore,
    manifest: Manifest,
    splits: Sequence[SelectedSplit],
    kind: RowKind,
    columns: Sequence[str],
) -> list[ObjectRowReader]:
    if not splits[0].of_kind(kind):
        return []
    return [
        ObjectRowReader(
            store,
            split.of_kind(kind),
            {
                name: open_array(store, manifest, split.published, feature)
                for name, feature in split.of_kind(kind).items()
            },
            split.published.split.rows_per_shard,
            columns,
        )
        for split in splits
    ]
