"""Normalizes one split: shards by an executor, then what is written once per split."""

from __future__ import annotations

from pathlib import PurePosixPath

from pipelines.engine.work import Executor, Listener, RunReport
from pipelines.jobs.finish_split import Budget, finish_split
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.store import layout
from pipelines.store.commits import committed_shards
from schemas.errors import ConflictError, DataError, SamdistillError, StorageError
from schemas.ids import parse_json
from schemas.manifests import SplitRecord

_REASONS = 3


class NormalizeJob:
    """Completes one split; running it again completes what is missing and writes nothing else.

    Parameters
    ----------
    stage
        The split, its source and its root.
    budget
        Rows that may be quarantined.
    any_count
        Accept counts that are not the published ones.
    """

    def __init__(self, stage: NormalizeStage, budget: Budget, *, any_count: bool = False) -> None:
        self.stage, self.budget, self.any_count = stage, budget, any_count

    def run(self, executor: Executor, listener: Listener) -> SplitRecord:
        """Return the record of the complete split.

        Raises
        ------
        ConflictError
            The root holds shards of this split that were made from another source.
        BudgetError
            Too many rows are quarantined.
        StorageError, DataError
            Some shards failed (the message has the first reasons), or the counts are wrong.
        """
        self._check_earlier_shards()
        report = executor.run(self.stage, self.stage.units, listener)
        if report.failures:
            raise _failed(report)
        return finish_split(self.stage.store, self.stage, self.budget, any_count=self.any_count)

    def _check_earlier_shards(self) -> None:
        earlier = list(committed_shards(self.stage.store, self.stage.folder))
        if not earlier:
            return
        if earlier[0] < len(self.stage.plans):
            self.stage.require_same_identity(earlier[0])
        if earlier[-1] >= len(self.stage.plans):
            raise ConflictError(
                f"{self.stage.folder} has a shard {earlier[-1]}",
                expected=f"{len(self.stage.plans)} shards",
                fix=f"Remove {self.stage.folder}, or use another --root.",
            )
        self._check_not_grown()

    def _check_not_grown(self) -> None:
        """Refuse to add shards to a complete split: what was published of it must not change."""
        normalizer, store = self.stage.normalizer, self.stage.store
        key = layout.split_key(normalizer.dataset, normalizer.split)
        if store.size(key) is None:
            return
        record = parse_json(store.get(key), SplitRecord, key)
        if record.shards != len(self.stage.plans):
            keys = [key, *(file.key for file in record.files)]
            names = ", ".join(sorted(PurePosixPath(name).name for name in keys))
            raise ConflictError(
                f"{self.stage.folder} is complete, and now its source holds more",
                expected=f"{record.shards} shards",
                got=f"{len(self.stage.plans)} shards",
                fix=f"To let it grow, remove {names} of it and run this again: its shards stay as "
                "they are. Or use another --root.",
            )


def _failed(report: RunReport) -> SamdistillError:
    failures = report.failures
    storage = any(failure.kind == "storage" for failure in failures)
    reasons = dict.fromkeys(failure.error.rstrip(".") for failure in failures)
    return (StorageError if storage else DataError)(
        f"{len(failures)} shards failed, {report.done + report.skipped} are complete: "
        f"{'; '.join(list(reasons)[:_REASONS])}",
        fix="Then the same command goes on where it stopped.",
    )
