"""Normalizes one split: shards by an executor, then what is written once per split."""

from __future__ import annotations

from collections.abc import Sequence

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
    grow
        Add shards to a split that is complete, if its source holds more now.
    """

    def __init__(
        self,
        stage: NormalizeStage,
        budget: Budget,
        *,
        any_count: bool = False,
        grow: bool = False,
    ) -> None:
        self.stage, self.budget = stage, budget
        self.any_count, self.grow = any_count, grow

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
        return finish_split(
            self.stage.store,
            self.stage,
            self.budget,
            any_count=self.any_count,
            grow=self.grow,
        )

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
        if self.grow:
            self._check_only_added(earlier)
        else:
            self._check_not_grown()

    def _check_only_added(self, earlier: Sequence[int]) -> None:
        """Refuse to add what belongs between the shards that are there."""
        for shard in earlier:
            try:
                self.stage.require_same_identity(shard)
            except ConflictError as cause:
                raise ConflictError(
                    f"shard {shard} of {self.stage.folder} would be another one",
                    expected=cause.expected,
                    got=cause.got,
                    fix="Only whole archives can be added, whose names come after the names of "
                    "those that are there. Normalize all of them into another --root.",
                ) from cause

    def _check_not_grown(self) -> None:
        """Refuse to add shards to a complete split unasked: others may read it as it is."""
        normalizer, store = self.stage.normalizer, self.stage.store
        key = layout.split_key(normalizer.dataset, normalizer.split)
        if store.size(key) is None:
            return
        record = parse_json(store.get(key), SplitRecord, key)
        if record.shards != len(self.stage.plans):
            raise ConflictError(
                f"{self.stage.folder} is complete, and now its source holds more",
                expected=f"{record.shards} shards",
                got=f"{len(self.stage.plans)} shards",
                fix="To let it grow, run this again with --grow: its shards stay as they are, with "
                "their features. Or use another --root.",
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
