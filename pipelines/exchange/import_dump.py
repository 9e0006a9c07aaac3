"""Importing a teacher dump: its records as a feature array beside others, shard by shard."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipelines.engine.executor import Slice
from pipelines.engine.prefetch import prefetch
from pipelines.exchange.dump_reader import Dump
from pipelines.jobs.cache import CachePlan, array_record, plan_stages
from pipelines.jobs.feature_stage import FeatureStage
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.unit_writer import UnitWriter, allowed_rows
from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.splits import Split
from schemas.errors import BudgetError, DataError
from schemas.features import Precision, TeacherSpec

NOT_IN_DUMP = "not-in-dump: the dump has no record of this sample"
NO_VALUES = "no-values: its record holds nothing but zeros"
_BATCH_BYTES = 16 << 20
_READ_THREADS = 2
_TABLE_READERS = 8

Rows = list[tuple[int, int]]
"""Rows of a shard, each with the number of its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpedTeacher:
    """What a teacher has left behind, in place of the teacher; see ``Source``."""

    dump: Dump
    spec: TeacherSpec

    @property
    def device(self) -> torch.device:
        """See ``Source.device``."""
        return torch.device("cpu")

    def open(self) -> DumpedTeacher:
        """Return itself: there is nothing to load."""
        return self


def identify(dump: Dump, precision: Precision, checkpoint: str | None) -> DumpedTeacher:
    """Return the teacher of a dump.

    Parameters
    ----------
    checkpoint
        blake3 of the file of its weights. Without it the identity is that of the dump itself:
        features of two dumps are then those of two teachers.
    """
    spec = TeacherSpec(
        architecture=dump.layout.architecture,
        config=dump.layout.name,
        weights=f"file:{checkpoint}" if checkpoint else f"dump:{dump.digest()}",
        preprocess=dump.layout.preprocess,
        tokenize=None,
        precision=precision,
        attention="unstated",
        libraries={},
    )
    return DumpedTeacher(dump=dump, spec=spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpEncoder:
    """Copies records to rows; see ``Encoder``.

    It holds a few batches of 16 MiB, or of one record, however large the dump is.
    """

    def encode(self, teacher: DumpedTeacher, split: Split, shard: int, writer: UnitWriter) -> None:
        """See ``Encoder.encode``."""
        dump = teacher.dump
        missing = set(writer.missing("sample"))
        wanted: Rows = []
        absent: list[int] = []
        for sample in split.samples(shard):
            if sample.row not in missing:
                continue
            if sample.quarantine is not None:
                writer.leave_out("sample", [sample.row], sample.quarantine)
            elif (number := dump.keys.find(sample.key)) is None:
                absent.append(sample.row)
            else:
                wanted.append((sample.row, number))
        writer.quarantine("sample", absent, NOT_IN_DUMP)
        _copy(dump, wanted, writer)


def _copy(dump: Dump, wanted: Rows, writer: UnitWriter) -> None:
    size = max(1, _BATCH_BYTES // dump.feature.item_bytes)
    batches = [wanted[first : first + size] for first in range(0, len(wanted), size)]
    read = prefetch(partial(_read, dump, writer), batches, threads=_READ_THREADS, ahead=1)
    for batch, values in zip(batches, read, strict=True):
        rows = np.array([row for row, _ in batch])
        empty = np.array([not row.ravel()[:64].any() and not row.any() for row in values])
        writer.quarantine("sample", rows[empty].tolist(), NO_VALUES)
        sound = values[~empty] if empty.any() else values
        writer.put(rows[~empty].tolist(), {dump.feature.name: sound})


def _read(dump: Dump, writer: UnitWriter, batch: Rows) -> npt.NDArray[np.float16]:
    values = np.empty((len(batch), *dump.feature.item_shape), dtype="<f2")
    with writer.busy.measure("read"):
        for row, (_, number) in zip(values, batch, strict=True):
            dump.read_into(number, as_bytes(row))
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How the keys of a dump and the sound samples of a split meet."""

    samples: int
    found: int
    unknown: int
    """Keys of the dump that name no sample of the split."""
    repeated: int
    """Records that are left aside because an earlier one has their key."""

    @property
    def notes(self) -> list[str]:
        """Return what of the dump is not as it could be."""
        lines = {
            f"{self.samples - self.found} of {self.samples} samples have no record: they are "
            "quarantined": self.samples - self.found,
            f"{self.unknown} keys of the dump name no sample here: they are left aside": (
                self.unknown
            ),
            f"{self.repeated} records repeat a key: the first counts, by rank": self.repeated,
        }
        return [line for line, count in lines.items() if count]


def plan_import(split: Split, teacher: DumpedTeacher, budget: Budget, part: Slice) -> CachePlan:
    """Return what importing a dump into a split will write.

    Raises
    ------
    DataError
        No key of the dump names a sample of the split.
    BudgetError
        More samples than the budget allows are not in the dump.
    """
    coverage = _require_covered(split, teacher.dump, budget)
    record = array_record(split, teacher.spec, teacher.dump.feature)
    stage = FeatureStage(
        name="import",
        split=split,
        arrays=(FeatureArray(split.store, record),),
        encoder=DumpEncoder(),
        load=teacher.open,
        budget=budget,
    )
    return plan_stages(split, teacher.spec, [stage], part, coverage.notes)


def measure_coverage(split: Split, dump: Dump) -> Coverage:
    """Return how many samples of a split are in a dump; reads the samples tables."""
    keys = _sound_keys(split)
    known, repeated = dump.keys.all, dump.keys.repeated()
    found = int(pc.sum(pc.is_in(keys, value_set=known)).as_py() or 0)
    return Coverage(
        samples=len(keys),
        found=found,
        unknown=len(dump.keys) - repeated - found,
        repeated=repeated,
    )


def _require_covered(split: Split, dump: Dump, budget: Budget) -> Coverage:
    coverage = measure_coverage(split, dump)
    missing = coverage.samples - coverage.found
    if not coverage.found:
        raise DataError(
            f"no key of {dump.where} names a sample of {split.name}",
            expected=f"keys as {_examples(_sound_keys(split))}",
            got=_examples(dump.keys.all) or "no keys",
            fix="Import it into the split whose images were dumped.",
        )
    if budget.rows is None and missing > allowed_rows(budget, coverage.samples):
        raise BudgetError(
            f"{missing} of {coverage.samples} samples of {split.name} are not in {dump.where}",
            expected=f"{allowed_rows(budget, coverage.samples)} at most",
            fix="Import into a split of what was dumped (normalize --ids), or allow more by "
            "--max-quarantined.",
        )
    return coverage


def _sound_keys(split: Split) -> pa.Array:
    def read(shard: int) -> pa.Array:
        table = split.samples_table(shard, ["key", "quarantine"])
        return table.filter(pc.is_null(table["quarantine"]))["key"].combine_chunks()

    with ThreadPoolExecutor(_TABLE_READERS, thread_name_prefix="samples") as pool:
        found = list(pool.map(read, range(split.record.shards)))
    return pc.cast(pa.chunked_array(found, pa.string()), pa.large_string()).combine_chunks()


def _examples(keys: Sequence[object]) -> str:
    return ", ".join(str(key) for key in keys[:3])
