"""Normalizes one split: shards by an executor, then what is written once per split."""

from __future__ import annotations

from pipelines.engine.work import Executor, Listener, RunReport
from pipelines.jobs.finish_split import Budget, finish_split
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.store.commits import committed_shards, read_commit
from schemas.errors import ConflictError, DataError, SamdistillError, StorageError
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
    """

    def __init__(self, stage: NormalizeStage, budget: Budget) -> None:
        self.stage, self.budget = stage, budget

    def run(self, executor: Executor, listener: Listener) -> SplitRecord:
        """Return the record of the complete split.

        Raises
        ------
        ConflictError
            The root holds shards of this split that were made from another source.
        BudgetError
            Too many rows are quarantined.
        StorageError, DataError
            Some shards failed; the message has the first reasons.
        """
        self._check_earlier_shards()
        report = executor.run(self.stage, self.stage.units, listener)
        if report.failures:
            raise _failed(report)
        return finish_split(self.stage.store, self.stage, self.budget)

    def stored_bytes(self) -> int:
        """Return the size of all shards of a complete split."""
        commits = (
            read_commit(self.stage.store, self.stage.folder, plan.shard)
            for plan in self.stage.plans
        )
        return sum(file.bytes for commit in commits for file in commit.files)

    def _check_earlier_shards(self) -> None:
        earlier = list(committed_shards(self.stage.store, self.stage.folder))
        if not earlier:
            return
        self.stage.require_same_identity(earlier[0])
        if earlier[-1] >= len(self.stage.plans):
            raise ConflictError(
                f"{self.stage.folder} has a shard {earlier[-1]}",
                expected=f"{len(self.stage.plans)} shards",
                fix=f"Remove {self.stage.folder}, or use another --root.",
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
