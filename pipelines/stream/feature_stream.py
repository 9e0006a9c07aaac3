"""The stream that a training loop iterates over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipelines.store.objects import ObjectStore
from pipelines.store.open import open_store
from pipelines.store.published import find_manifest
from pipelines.stream.batches import Batch, BatchReader, PendingBatch
from pipelines.stream.order import Order, Positions
from pipelines.stream.sample_reader import SampleReader
from pipelines.stream.samples import open_index
from pipelines.stream.selection import only_teacher, require_teacher, select_splits
from schemas.errors import IdentityError, UsageError
from schemas.features import FeatureSpec, TeacherSpec

StreamState = dict[str, int | str]


class FeatureStream:
    """Batches of images and teacher features of a published manifest, in shuffled order.

    The order is a function of seed and epoch alone. All ranks take from it in turn, so a run may
    stop after any batch and go on with another number of ranks, threads or samples per batch: each
    sample still comes exactly once per epoch. Batches run on over the end of an epoch.

    Threads read ahead while the caller computes; they live as long as the iterator. The stream
    itself holds no thread and no open file, so it can be pickled and survives a fork.

    Parameters
    ----------
    store
        A root, or its path or URL.
    manifest
        ``name`` or ``name@version``.
    image_size
        Side of the images; None to read features only.
    features
        Names of arrays with one row per sample.
    teacher
        Digest; needed when the manifest has features of several teachers.
    epochs
        How often to go through all samples, without end by default.
    drop_last
        Leave out the samples at the very end that do not fill a batch on every rank.
    prefetch
        Batches that are read ahead.
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
        features: Sequence[str] = ("image.trunk",),
        teacher: str | None = None,
        batch_size: int = 8,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
        drop_last: bool = False,
        threads: int = 8,
        prefetch: int = 2,
        verify: bool = True,
        pin_memory: bool = False,
    ) -> None:
        _require_positive(batch_size=batch_size, threads=threads, prefetch=prefetch)
        _require_rank(rank, world_size)
        store = open_store(store) if isinstance(store, str) else store
        self.manifest = find_manifest(store, manifest)
        contents = self.manifest.manifest
        self.teacher: TeacherSpec = (
            require_teacher(contents, teacher) if teacher else only_teacher(contents)
        )
        splits = select_splits(contents, features, self.teacher)
        self.features: dict[str, FeatureSpec] = {
            name: found.feature for name, found in zip(features, splits[0].features, strict=True)
        }
        self.index = open_index(store, contents, splits)
        self.position = 0
        """Samples that all ranks together have consumed, since the first epoch."""
        self.wait_seconds = 0.0
        """How long callers have waited for a batch."""
        self._order = Order(samples=len(self.index), seed=seed)
        self._rank, self._world_size, self._batch_size = rank, world_size, batch_size
        self._end = None if epochs is None else self._last_position(epochs, drop_last)
        self._threads, self._prefetch = threads, prefetch
        self._batches = BatchReader(
            SampleReader(store, contents, splits, self.index, verify=verify),
            self.index,
            self.features,
            image_size,
            batch_size=batch_size,
            keep=prefetch + 2,
            pinned=pin_memory,
        )

    def __len__(self) -> int:
        """Return the number of samples of an epoch, over all ranks."""
        return len(self.index)

    def __iter__(self) -> Generator[Batch, None, None]:
        """Yield batches from the current position on; closing the iterator ends its threads."""
        pending: deque[tuple[int, PendingBatch]] = deque()
        threads = ThreadPoolExecutor(self._threads, thread_name_prefix="samples")
        try:
            for stop, positions in self._steps():
                samples = self._order.at(positions)
                pending.append((stop, self._batches.start(threads, samples)))
                if len(pending) > self._prefetch:
                    yield self._next(pending)
            while pending:
                yield self._next(pending)
            if self._end is not None:
                self.position = self._end
        finally:
            threads.shutdown(cancel_futures=True)

    def state_dict(self) -> StreamState:
        """Return where the stream is, counting the batches handed out; equal on all ranks."""
        return {
            "manifest": self.manifest.digest,
            "teacher": self.teacher.digest,
            "features": ",".join(self.features),
            "samples": len(self.index),
            "seed": self._order.seed,
            "position": self.position,
        }

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

    def _steps(self) -> Iterator[tuple[int, Positions]]:
        """Yield for each batch the position after it, over all ranks, and this rank's positions."""
        start = self.position
        while self._end is None or start < self._end:
            stop = start + self._batch_size * self._world_size
            if self._end is not None:
                stop = min(stop, self._end)
            positions = np.arange(start + self._rank, stop, self._world_size, dtype=np.int64)
            if len(positions) == 0:
                return
            yield stop, positions
            start = stop

    def _next(self, pending: deque[tuple[int, PendingBatch]]) -> Batch:
        position, batch = pending.popleft()
        began = time.perf_counter()
        filled = batch.result()
        self.wait_seconds += time.perf_counter() - began
        self.position = position
        return filled

    def _last_position(self, epochs: int, drop_last: bool) -> int:
        _require_positive(epochs=epochs)
        end = epochs * len(self.index)
        step = self._batch_size * self._world_size
        if drop_last:
            end -= end % step
        if end < (step if drop_last else self._world_size):
            raise UsageError(
                f"{len(self.index)} samples are too few for {self._world_size} ranks "
                f"with {self._batch_size} samples per batch"
            )
        return end


def _require_positive(**options: int) -> None:
    for name, value in options.items():
        if value < 1:
            raise UsageError(f"option {name} of a stream", expected="at least 1", got=value)


def _require_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank} of {world_size}", expected="0 <= rank < world_size")
