"""Runs what has been planned, stage after stage, and shows how far it is and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from pipelines.cli import cache_view as view
from pipelines.cli.progress import open_progress
from pipelines.engine.work import Executor, RunReport
from pipelines.jobs.cache import CachePlan, PlannedStage
from pipelines.jobs.cache_run import run_stage
from pipelines.store.run_log import RunLog


def run_plans(
    console: Console,
    plans: Sequence[CachePlan],
    open_executor: Callable[[], Executor],
    workers: int,
) -> dict[str, RunReport]:
    """Run all stages that have units left; return the reports by title.

    A root that refuses to take a shard ends the run.
    """
    reports: dict[str, RunReport] = {}
    stages = _stages(plans)
    for title, planned in stages.items():
        if not planned.units:
            console.print(f"{title}: complete")
    left = {title: planned for title, planned in stages.items() if planned.units}
    if not left:
        return reports
    executor = open_executor()
    with executor.session(), RunLog(plans[0].split.store, workers) as log:
        for title, planned in left.items():
            reports[title] = _run_stage(console, title, planned, executor, log)
            if any(failure.kind == "storage" for failure in reports[title].failures):
                break
    return reports


def is_complete(plans: Sequence[CachePlan], reports: Mapping[str, RunReport]) -> bool:
    """Say whether every unit of the plans is complete."""
    for title, planned in _stages(plans).items():
        report = reports.get(title)
        if planned.units and (report is None or report.done + report.skipped < len(planned.units)):
            return False
    return True


def _stages(plans: Sequence[CachePlan]) -> dict[str, PlannedStage]:
    return {
        f"{plan.split.name} {planned.stage.name}": planned
        for plan in plans
        for planned in plan.stages
    }


def _run_stage(
    console: Console, title: str, planned: PlannedStage, executor: Executor, log: RunLog
) -> RunReport:
    with open_progress(console, title, len(planned.units)) as progress:
        report = run_stage(planned, executor, title, progress, log)
    view.show_report(console, title, report, len(planned.units))
    return report
