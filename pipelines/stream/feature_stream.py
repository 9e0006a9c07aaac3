"""The stream that a training loop iterates over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from pipelines.store.objects import ObjectStore
from pipelines.store.open import open_store
from pipelines.store.published import find_manifest
from pipelines.stream.augment import Augment
from pipelines.stream.batch_reader import BatchReader, PendingBatch, Threads
from pipelines.stream.batches import Batch
from pipelines.stream.options import Locality, StreamOptions, require_positive, require_rank
from pipelines.stream.order import Positions
from pipelines.stream.samples import Windows, open_index
from pipelines.stream.selection import choose_features, require_viewable, select_splits
from pipelines.stream.stream_order import make_order, mixture_weights
from schemas.errors import IdentityError, UsageError
from schemas.features import FeatureSpec, TeacherSpec, View, checked_views

StreamState = dict[str, int | str]


class FeatureStream(IterableDataset[Batch]):
    """Batches of images and teacher features of a published manifest, in shuffled order.

    The order is a function of seed and epoch alone. All ranks take from it in turn, so a run may
    stop after any batch and go on with another number of ranks, workers, threads or samples per
    batch: each sample still comes exactly once per epoch. Batches run on over the end of an epoch.

    Threads read ahead while the caller computes; they live as long as the iterator. The stream
    itself holds no thread and no open file, so it can be pickled and survives a fork. In a worker
    of a ``DataLoader(stream, batch_size=None)`` it yields every ``num_workers``-th batch, so that
    the loader yields all of them in order.

    Parameters
    ----------
    store
        A root, or its path or URL.
    manifest
        ``name`` or ``name@version``.
    image_size
        Side of the images; None to read no images.
    features
        Names of arrays, as ``image.trunk``, ``image.trunk@int8`` or ``image.trunk/TEACHER``; or
        such names by names of your own. Features of phrases come in ``Batch.phrases``, those of
        tracked objects in ``Batch.memory``, of prompts in ``Batch.prompts``.
    teacher
        Digest, for features that are named without one; needed when the manifest has several.
    splits
        Only these, as ``dataset/split``; by default all that have every feature.
    weights
        A mixture: how many samples of each round come from each split. By default the manifest's;
        an empty one for each sample of all splits once per epoch.
    annotations
        Whether batches hold the objects of each image.
    phrases
        Whether batches hold the phrases; implied by a feature of phrases.
    frames
        Stream windows of that many consecutive frames of a clip.
    hop
        Frames between the begins of two windows; by default ``frames``.
    views
        Of which images are shown, ``identity`` or ``hflip`` or both: with both, each time one of
        them as likely, drawn from seed and position. Features of images must be cached in all of
        them (``samdistill cache --views``).
    augment
        Changes of the images alone, which must move no pixel (``pipelines.stream.augment``).
    epochs
        How often to go through all samples, without end by default. An epoch of a mixture lasts
        until every split has been gone through at least once.
    drop_last
        Leave out the samples at the very end that do not fill a batch on every rank.
    locality
        ``shard`` mixes the samples of only ``window`` shards at a time, in random order of shards.
    prefetch
        Batches that are read ahead. With the one that the caller holds, so many and one more are in
        memory; a batch begins when the caller has let go of the last but one. With ``pin_memory``
        one more: PyTorch alone knows when it is free.
    verify
        Check each image and each feature against its checksum.
    pin_memory
        Put batches where a CUDA device can fetch them while it computes.

    Raises
    ------
    UsageError
        There is nothing to stream, or an option cannot be right.
    """

    def __init__(
        self,
        store: ObjectStore | str,
        manifest: str,
        *,
        image_size: int | None,
        features: Sequence[str] | Mapping[str, str] = ("image.trunk",),
        teacher: str | None = None,
        splits: Sequence[str] | None = None,
        weights: Mapping[str, int] | None = None,
        annotations: bool = False,
        phrases: bool = False,
        frames: int | None = None,
        hop: int | None = None,
        views: Sequence[View] = ("identity",),
        augment: Sequence[Augment] = (),
        batch_size: int = 8,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
        drop_last: bool = False,
        locality: Locality = "none",
        window: int = 16,
        threads: int = 8,
        prefetch: int = 2,
        verify: bool = True,
        pin_memory: bool = False,
    ) -> None:
        require_positive(batch_size=batch_size, threads=threads, prefetch=prefetch, window=window)
        require_rank(rank, world_size)
        if frames is not None or hop is not None:
            require_positive(frames=frames or 0, hop=frames or 0 if hop is None else hop)
        self._open(
            StreamOptions(
                store=open_store(store) if isinstance(store, str) else store,
                manifest=manifest,
                image_size=image_size,
                features=dict(features) if isinstance(features, Mapping) else tuple(features),
                teacher=teacher,
                splits=None if splits is None else tuple(splits),
                weights=None if weights is None else dict(weights),
                annotations=annotations,
                phrases=phrases,
                windows=Windows(frames=frames, hop=hop or frames) if frames else None,
                views=checked_views(views),
                augment=tuple(augment),
                batch_size=batch_size,
                seed=seed,
                rank=rank,
                world_size=world_size,
                epochs=epochs,
                drop_last=drop_last,
                locality=locality,
                window=window,
                threads=threads,
                prefetch=prefetch,
                verify=verify,
                pin_memory=pin_memory,
            )
        )

    def _open(self, options: StreamOptions) -> None:
        self.manifest = find_manifest(options.store, options.manifest)
        contents = self.manifest.manifest
        choices = choose_features(contents, options.features, options.teacher)
        require_viewable(choices, options.views)
        splits = select_splits(contents, choices, options.splits, options.views)
        self.teachers: dict[str, TeacherSpec] = {choice.name: choice.teacher for choice in choices}
        """By the name of the feature."""
        self.features: dict[str, FeatureSpec] = {
            name: found.feature for name, found in splits[0].features.items()
        }
        self.index = open_index(options.store, contents, splits, options.windows)
        self.position = 0
        """Samples that all ranks together have consumed, since the first epoch."""
        self.wait_seconds = 0.0
        """How long callers have waited for a batch."""
        self._options = replace(options, manifest=self.manifest.reference)
        self._weights = mixture_weights(options.weights, contents.weights, splits)
        self._order = make_order(self.index, splits, self._weights, options)
        self._end = None if options.epochs is None else self._checked_end(options.epochs)
        self._batches = BatchReader(contents, splits, self.index, options)

    def __getstate__(self) -> tuple[StreamOptions, int]:
        return self._options, self.position

    def __setstate__(self, state: tuple[StreamOptions, int]) -> None:
        options, position = state
        self._open(options)
        self.position = position

    @property
    def teacher(self) -> TeacherSpec:
        """The teacher of the first feature."""
        return next(iter(self.teachers.values()))

    @property
    def samples(self) -> int:
        """Number of samples, or windows, of an epoch, over all ranks."""
        return self._order.epoch

    def __len__(self) -> int:
        """Return the number of batches of this rank, from the first position to the end."""
        end = self._end_from(0)
        if end is None:
            raise TypeError("a stream without epochs has no length")
        options = self._options
        mine = (end - options.rank + options.world_size - 1) // options.world_size
        return -(-mine // options.batch_size)

    def __iter__(self) -> Generator[Batch, None, None]:
        """Yield batches from the current position on; closing the iterator ends its threads."""
        end = self._end_from(self.position)
        options, steps = self._options, enumerate(self._steps(end))
        pending: deque[tuple[int, Future[PendingBatch]]] = deque()
        threads = Threads(options.threads, options.prefetch + 1)
        try:
            while True:
                for number, step in islice(steps, options.prefetch + 1 - len(pending)):
                    begun = threads.starter.submit(self._start, threads, number, *step)
                    pending.append((number, begun))
                if not pending:
                    break
                yield self._next(threads, *pending.popleft())
            if end is not None:
                self.position = end
        finally:
            threads.close()

    def state_dict(self) -> StreamState:
        """Return where the stream is, counting the batches handed out; equal on all ranks."""
        options = self._options
        windows = options.windows
        state: StreamState = {
            "manifest": self.manifest.digest,
            "features": ",".join(
                f"{name}={self.features[name].array_name}/{teacher.digest}"
                for name, teacher in self.teachers.items()
            ),
            "samples": len(self.index),
            "order": f"shard/{options.window}" if options.locality == "shard" else "sample",
            "weights": ",".join(f"{place}={n}" for place, n in sorted(self._weights.items())),
            "windows": f"{windows.frames}/{windows.hop}" if windows else "",
            "seed": options.seed,
            "position": self.position,
        }
        if options.views != ("identity",):
            state["views"] = ",".join(options.views)
        return state

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Let the next iteration go on where ``state`` was taken.

        Raises
        ------
        IdentityError
            It was taken from a stream with another order; the message names what differs.
        """
        mine = self.state_dict()
        differing = [
            f"{name}: {mine.get(name)} != {state.get(name)}"
            for name in sorted(mine.keys() | state.keys())
            if name != "position" and mine.get(name) != state.get(name)
        ]
        if differing:
            raise IdentityError(
                f"the state is of another stream than {self.manifest.reference}: "
                + "; ".join(differing),
                fix="Go on with the same manifest version and seed, or start anew.",
            )
        self.position = int(state["position"])

    def _steps(self, end: int | None) -> Iterator[tuple[int, Positions]]:
        """Yield for each batch the position after it, over all ranks, and this rank's positions.

        In a worker of a loader, only the batches that are this worker's.
        """
        options = self._options
        worker = get_worker_info()
        turn, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        start, number = self.position, 0
        while end is None or start < end:
            stop = start + options.batch_size * options.world_size
            if end is not None:
                stop = min(stop, end)
            if number % workers == turn:
                first = start + options.rank
                positions = np.arange(first, stop, options.world_size, dtype=np.int64)
                if len(positions) == 0:
                    return
                yield stop, positions
            start, number = stop, number + 1

    def _start(
        self, threads: Threads, number: int, stop: int, positions: Positions
    ) -> PendingBatch:
        lease = threads.allowance.lease(number)
        return self._batches.start(threads, self._order.at(positions), positions, stop, lease)

    def _next(self, threads: Threads, number: int, begun: Future[PendingBatch]) -> Batch:
        began = time.perf_counter()
        if not begun.done():
            threads.allowance.insist(number)
        filled = begun.result().result()
        self.wait_seconds += time.perf_counter() - began
        self.position = filled.position
        return filled

    def _end_from(self, start: int) -> int | None:
        """Return where an iteration from ``start`` on ends, if it does.

        Without the samples that do not fill a batch on every rank, that depends on the start,
        which may come from another number of ranks.
        """
        end, options = self._end, self._options
        if end is not None and options.drop_last:
            end -= max(0, end - start) % (options.batch_size * options.world_size)
        return end

    def _checked_end(self, epochs: int) -> int:
        require_positive(epochs=epochs)
        options = self._options
        end = epochs * self.samples
        step = options.batch_size * options.world_size
        if end < (step if options.drop_last else options.world_size):
            raise UsageError(
                f"{self.samples} samples are too few for {options.world_size} ranks "
                f"with {options.batch_size} samples per batch"
            )
        return end
