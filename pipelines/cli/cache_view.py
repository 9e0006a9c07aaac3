"""What `samdistill cache` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from pipelines.cli.tables import print_table, shape_text
from pipelines.engine.work import RunReport
from pipelines.jobs.cache import CachePlan
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.unit_writer import allowed_rows
from schemas.features import TeacherSpec

_STEPS = ("read", "decode", "h2d", "forward", "d2h", "encode", "write", "publish")
_WAITS = {"wait_decode": "for images", "wait_write": "for the writer", "gap": "between shards"}
"""What the device waits for."""


def show_teacher(console: Console, name: str, spec: TeacherSpec) -> None:
    """Print which teacher will run, and its digest."""
    console.print(f"teacher {name}: {spec.architecture} {spec.digest}, {spec.precision}")


def show_plan(console: Console, plan: CachePlan, free: int | None) -> None:
    """Print what will be written for one split."""
    rows = [
        (
            array.feature.array_name,
            shape_text(array.feature.item_shape),
            array.feature.codec,
            str(array.rows),
            str(array.shards),
            str(array.shards_left),
            decimal(array.bytes_left),
        )
        for array in plan.arrays
    ]
    console.print(plan.split.name, style="bold")
    headings = ("array", "row", "codec", "rows", "shards", "to do", "bytes")
    print_table(console, headings, rows, {"row", "codec", "rows", "shards"})
    for note in plan.notes:
        console.print(note)
    room = "a bucket" if free is None else f"{decimal(free)} free"
    console.print(f"to write {decimal(plan.bytes_left)} into {plan.split.store.url} ({room})")


def show_report(console: Console, title: str, report: RunReport, units: int) -> None:
    """Print what a run did, what each step cost, and every unit that failed."""
    done = [item for item in report.reports if item.status == "done"]
    rows = sum(item.rows for item in done)
    facts = {
        "shards": f"{report.done} done, {report.skipped} by others, {len(report.failures)} failed",
        "not tried": str(units - len(report.reports) - len(report.failures)),
        "rows": f"{rows}, {sum(item.quarantined for item in done)} of them quarantined",
        "bytes": decimal(sum(item.bytes for item in done)),
        "workers lost": str(report.lost_workers),
        "time": f"{report.seconds:.1f} s, {rows / max(report.seconds, 1e-9):.1f} rows/s",
        "busy": _seconds(report, {step: step for step in _STEPS}),
        "device": f"computes {report.device_busy:.1%} of its time" if report.total("turn") else "0",
        "it waits": _seconds(report, _WAITS) or "0",
    }
    table = Table.grid(padding=(0, 2))
    for name, text in facts.items():
        if text != "0":
            table.add_row(name, text)
    console.print(title, style="bold")
    console.print(table)
    kinds = Counter(failure.kind for failure in report.failures)
    for failure in report.failures:
        times = f" ({failure.attempts} attempts)" if failure.attempts > 1 else ""
        console.print(f"failed {failure.unit.id}, {failure.kind}{times}: {failure.error}")
    if kinds["code"] or kinds["infrastructure"] or kinds["storage"]:
        console.print("The same command tries them again.")


def summaries(reports: Mapping[str, RunReport]) -> list[dict[str, object]]:
    """Return what ``--json`` prints: one object for each stage that ran."""
    return [
        {
            "stage": title,
            "done": report.done,
            "skipped": report.skipped,
            "failures": report.failures,
            "rows": sum(item.rows for item in report.reports),
            "quarantined": sum(item.quarantined for item in report.reports),
            "bytes": sum(item.bytes for item in report.reports),
            "lost_workers": report.lost_workers,
            "seconds": report.seconds,
            "device_busy": report.device_busy,
            "steps": {
                step: report.total(step)
                for step in sorted({step for item in report.reports for step in item.seconds})
            },
        }
        for title, report in reports.items()
    ]


def _seconds(report: RunReport, names: Mapping[str, str]) -> str:
    """Return what took time, and how long over all workers."""
    return ", ".join(
        f"{text} {report.total(step):.2f} s" for step, text in names.items() if report.total(step)
    )


def show_excess(console: Console, budget: Budget, reports: Iterable[RunReport]) -> bool:
    """Print when more rows are quarantined than the share allows over all that was run; say so.

    A budget that is a count is one of each shard, and was kept there.
    """
    done = [item for report in reports for item in report.reports]
    rows, quarantined = sum(item.rows for item in done), sum(item.quarantined for item in done)
    allowed = allowed_rows(budget, rows)
    if budget.rows is not None or quarantined <= allowed:
        return False
    console.print(
        f"{quarantined} of {rows} rows are quarantined, expected {allowed} at most. "
        "Repair the source, or allow more by --max-quarantined."
    )
    return True
