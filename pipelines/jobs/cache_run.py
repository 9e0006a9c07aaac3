"""Running one stage of a cache plan, shared with other drivers and told in the run's record."""

from __future__ import annotations

import random

from pipelines.engine.executor import one_line
from pipelines.engine.progress import Progress
from pipelines.engine.work import Executor, Failure, RunReport, UnitReport
from pipelines.jobs.cache import PlannedStage
from pipelines.store.leases import StoreLeases
from pipelines.store.run_log import RunLog
from schemas.runs import RunFailure, StageProgress

_LAST_FAILURES = 20


def run_stage(
    planned: PlannedStage, executor: Executor, title: str, progress: Progress, log: RunLog
) -> RunReport:
    """Complete the units of a stage that no other driver completes.

    Each driver goes through them in an order of its own, so that two rarely want the same one.
    """
    stage = planned.stage
    folders = tuple(array.folder for array in stage.arrays)
    units = list(planned.units)
    random.Random(log.run).shuffle(units)
    listener = _Noted(progress, log, title, folders)
    with StoreLeases(stage.split.store, folders, log.run) as leases:
        return executor.run(stage, units, listener, leases)


class _Noted:
    """A listener that passes everything on, and keeps the run's record up to date."""

    def __init__(
        self, progress: Progress, log: RunLog, title: str, arrays: tuple[str, ...]
    ) -> None:
        self._progress, self._log = progress, log
        self._title, self._arrays = title, arrays
        self._note()

    def unit_finished(self, report: UnitReport) -> None:
        self._progress.unit_finished(report)
        self._note()

    def unit_failed(self, failure: Failure) -> None:
        self._progress.unit_failed(failure)
        self._note()

    def _note(self) -> None:
        so_far = self._progress
        self._log.note(
            StageProgress(
                title=self._title,
                arrays=self._arrays,
                units=so_far.units,
                done=so_far.done,
                skipped=so_far.skipped,
                rows=so_far.rows,
                quarantined=so_far.quarantined,
                bytes=so_far.bytes,
                seconds=so_far.seconds,
                failed=len(so_far.failures),
                failures=tuple(
                    RunFailure(unit=item.unit.id, kind=item.kind, error=one_line(item.error))
                    for item in so_far.failures[-_LAST_FAILURES:]
                ),
            )
        )
