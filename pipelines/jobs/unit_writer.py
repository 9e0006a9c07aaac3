"""The output of one unit: shards of several arrays, encoded and written behind the forward pass."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from pipelines.jobs.device import Arriving, Device, Span
from pipelines.jobs.feature_shards import FeatureShard
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.overlap import Background, BusyTime
from pipelines.jobs.stored_rows import Values, as_rows, check_row
from pipelines.jobs.turn import Turn
from pipelines.store.arrays import FeatureArray
from pipelines.store.commits import is_committed, read_commit
from pipelines.store.layout import annotations_key, split_folder
from pipelines.store.rows import expected_rows
from pipelines.store.splits import Split
from pipelines.store.tensor_codec import TensorCodec
from pipelines.teachers.base import DeviceFeatures, Features
from schemas.errors import BudgetError, DataError, IntegrityError
from schemas.features import RowKind
from schemas.manifests import CommitRecord, FileRecord


class UnitWriter:
    """Takes features and reasons from an encoder; ``publish`` makes all of it visible.

    Rows are numbers in the shard. One writer thread keeps at most two batches waiting. Only a unit
    that has the turn computes; it takes it for its first forward pass.
    """

    def __init__(
        self,
        shards: Sequence[FeatureShard],
        budget: Budget,
        background: Background,
        device: torch.device,
        turn: Turn,
    ) -> None:
        self.busy = BusyTime()
        self.device = Device(device, self.busy.add)
        self._shards, self._budget, self._background = shards, budget, background
        self._failed: dict[RowKind, dict[int, str]] = {}
        self._turn = turn
        self._turn_begun: float | None = None

    def missing(self, kind: RowKind) -> list[int]:
        """Return the rows that some array of the kind still lacks; none when there is no array."""
        self._background.wait()
        rows: set[int] = set()
        return sorted(rows.union(*(shard.missing for shard in self._of_kind(kind))))

    def rows_per_shard(self, kind: RowKind) -> int:
        """Return how many rows a full shard of the kind has; 0 when there is no array of it."""
        shards = self._of_kind(kind)
        return max((shard.array.record.rows_per_shard for shard in shards), default=0)

    def features(self, kind: RowKind) -> tuple[str, ...]:
        """Return the names of the features that are written here, of one kind."""
        return tuple({shard.array.feature.name: None for shard in self._of_kind(kind)})

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """Count the block as a forward pass, in this unit's turn."""
        if self._turn_begun is None:
            with self.busy.measure("wait_turn"):
                gap = self._turn.take()
            self.busy.add("gap", gap)
            self._turn_begun = time.perf_counter()
        with self.device.forward():
            yield

    def leave_turn(self) -> None:
        """Let the next unit compute; what is left to do here needs no device."""
        if self._turn_begun is not None:
            self.busy.add("turn", time.perf_counter() - self._turn_begun)
            self._turn_begun = None
            self._turn.leave()

    @contextlib.contextmanager
    def waiting(self, step: str) -> Iterator[None]:
        """Count the block as waiting for ``step``, when the device waits with it."""
        begun = time.perf_counter()
        yield
        if self._turn_begun is not None:
            self.busy.add(f"wait_{step}", time.perf_counter() - begun)

    def put(self, rows: Sequence[int], features: Features | DeviceFeatures) -> None:
        """Write ``features[name][i]`` as row ``rows[i]``; quarantine what cannot be stored.

        The values must not change afterwards: they are written later.
        """
        batches = [
            (shard, self._send(shard.array, features[shard.array.feature.name]))
            for shard in self._shards
            if shard.array.feature.name in features
        ]
        with self.waiting("write"):
            self._background.submit(self._write, list(rows), batches, self.device.take_spans())

    def leave_out(self, kind: RowKind, rows: Iterable[int], reason: str) -> None:
        """Record rows that an earlier step or another row made impossible."""
        for row in rows:
            for shard in self._of_kind(kind):
                shard.quarantine(row, reason)

    def quarantine(self, kind: RowKind, rows: Sequence[int], reason: str) -> None:
        """Record rows that failed here; each counts.

        Raises
        ------
        BudgetError
            More rows of this kind failed than are allowed.
        """
        self.leave_out(kind, rows, reason)
        if rows:
            self._count(kind, rows, reason)

    def publish(self, split: Split, shard: int) -> list[CommitRecord]:
        """Publish all shards of the unit, after the last row is written."""
        self._background.wait()
        for output in self._shards:
            if output.missing:
                raise IntegrityError(
                    f"shard {shard} of {output.array.folder} is not complete",
                    expected=f"{output.rows} rows, computed or quarantined",
                    got=f"no row {min(output.missing)} and {len(output.missing) - 1} others",
                )
        with self.busy.measure("publish"):
            return [
                output.publish(_inputs(split, output.array.feature.rows, shard))
                for output in self._shards
            ]

    def _of_kind(self, kind: RowKind) -> Iterator[FeatureShard]:
        return (shard for shard in self._shards if shard.array.feature.rows == kind)

    def _send(self, array: FeatureArray, values: Values) -> Arriving:
        return self.device.download(as_rows(array, values), TensorCodec(array.feature).encode)

    def _write(
        self,
        rows: list[int],
        batches: Sequence[tuple[FeatureShard, Arriving]],
        spans: Sequence[Span],
    ) -> None:
        for shard, batch in batches:
            with self.busy.measure("wait_device"):
                batch.wait()
            encoded = batch.rows()
            for row in rows:
                self._write_row(shard, row, encoded)
        for span in spans:
            span.end()

    def _write_row(self, shard: FeatureShard, row: int, encoded: Iterator[torch.Tensor]) -> None:
        try:
            with self.busy.measure("encode"):
                stored = check_row(shard.array, next(encoded), f"row {row}")
        except DataError as error:
            reason = f"unstorable: {error}"
            shard.quarantine(row, reason)
            self._count(shard.array.feature.rows, [row], reason)
        else:
            with self.busy.measure("write"):
                shard.write(row, stored)

    def _count(self, kind: RowKind, numbers: Iterable[int], reason: str) -> None:
        failed = self._failed.setdefault(kind, {})
        for row in numbers:
            failed.setdefault(row, reason)
        rows = max(shard.rows for shard in self._of_kind(kind))
        allowed = allowed_rows(self._budget, rows)
        if len(failed) > allowed:
            listed = "; ".join(f"row {row}, {reason}" for row, reason in list(failed.items())[:3])
            raise BudgetError(
                f"{len(failed)} of {rows} rows of one shard ({kind}) failed: {listed}",
                expected=f"{allowed} at most",
                fix="Repair the source, or allow more by --max-quarantined.",
            )


@contextlib.contextmanager
def open_unit(
    split: Split,
    arrays: Iterable[FeatureArray],
    shard: int,
    budget: Budget,
    device: torch.device,
    turn: Turn,
) -> Iterator[UnitWriter]:
    """Open the shards of those arrays that are not complete; nothing is visible before ``publish``.

    A data file that an attempt left without its commit record is adopted at once: of it, only the
    rows that it lacks are computed.

    Raises
    ------
    IdentityError
        An array exists with another shape, or was made from another normalization.
    """
    with contextlib.ExitStack() as stack:
        shards = []
        names: dict[RowKind, list[dict[str, Any]]] = {}
        for array in arrays:
            if is_committed(array.store, array.folder, shard):
                continue
            array.create()
            target = stack.enter_context(array.stage_shard(shard))
            kind = array.feature.rows
            if kind not in names:
                names[kind] = expected_rows(split, array.record, shard)
            output = FeatureShard(array, shard, target, names[kind])
            output.adopt()
            shards.append(output)
        # Entered last, ended first: its thread must be done before the files close.
        background = stack.enter_context(Background())
        writer = UnitWriter(shards, budget, background, device, turn)
        try:
            yield writer
        finally:
            writer.leave_turn()


def allowed_rows(budget: Budget, rows: int) -> int:
    """Return how many of ``rows`` rows may fail: a share allows one, or small shards had none."""
    share_of_a_row = budget.rows is None and budget.share > 0
    return max(budget.allowed(rows), int(share_of_a_row))


def _inputs(split: Split, kind: RowKind, shard: int) -> tuple[FileRecord, ...]:
    """Return the normalized files that a shard of such rows is computed from."""
    dataset, name = split.record.dataset, split.record.split
    if kind == "phrase":
        return split.record.files
    files = read_commit(split.store, split_folder(dataset, name), shard).files
    annotations = annotations_key(dataset, name, shard)
    of_objects = kind in ("object_frame", "prompt")
    return tuple(file for file in files if of_objects or file.key != annotations)
