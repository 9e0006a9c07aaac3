"""What `samdistill normalize` shows; fits into 60 columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.cli.consoles import open_console
from pipelines.engine.work import Failure, Listener, UnitReport
from pipelines.jobs.check_counts import CountCheck
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.jobs.split_report import SplitDescription
from pipelines.store import layout
from schemas.manifests import SplitRecord

_NARROW = 80
_LINE_EVERY_PERCENT = 10


@contextlib.contextmanager
def open_progress(stage: NormalizeStage, *, quiet: bool = False) -> Iterator[Listener]:
    """Show a bar on a terminal, and elsewhere a line per tenth of the shards.

    Parameters
    ----------
    quiet
        Keep standard output for something else.
    """
    console = open_console(stderr=quiet, wraps=True)
    title = f"{stage.normalizer.dataset}/{stage.normalizer.split}"
    if not console.is_terminal:
        yield _Lines(console, title, len(stage.plans))
        return
    columns = [TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn()]
    if console.width >= _NARROW:
        columns.append(TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, title, len(stage.plans))


def warn_counts(check: CountCheck) -> None:
    """Print on standard error what differs from the published counts, if anything does."""
    if check.differences:
        console = open_console(stderr=True)
        console.print(f"warning: {check}")


def show_split(described: SplitDescription) -> None:
    """Print what a complete split holds."""
    record = described.record
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in (*_shard_lines(record), *_count_lines(record), *_report_lines(described)):
        table.add_row(name, value)
    table.add_row("bytes", decimal(described.bytes))
    console = open_console(wraps=True)
    console.print(f"{record.dataset}/{record.split}", style="bold")
    console.print(table)


def _shard_lines(record: SplitRecord) -> list[tuple[str, str]]:
    if not record.shards:
        return []
    lines = [
        ("shards", f"{record.shards}"),
        ("rows", f"{record.rows}, {record.rows_per_shard} per shard at most"),
    ]
    if record.subset is not None:
        rule, _, digest = record.subset.rpartition(" ")
        key = layout.ids_key(record.dataset, record.split)
        lines += [("subset", rule), ("its ids", key), ("their digest", digest)]
    return lines


def _count_lines(record: SplitRecord) -> list[tuple[str, str]]:
    counts = [(name.replace("_", " "), f"{count}") for name, count in sorted(record.counts.items())]
    reasons = sorted(record.quarantined.items())
    return [
        *counts,
        ("phrases", f"{record.phrases}"),
        *((f"quarantined: {reason}", f"{count}") for reason, count in reasons),
    ]


def _report_lines(described: SplitDescription) -> list[tuple[str, str]]:
    report = described.report
    if report is None:
        return []
    lines = [("categories", f"{len(report.categories)}")] if report.categories else []
    lines.append(("without objects", f"{report.without_objects}"))
    if (sizes := report.sizes) is not None:
        for name in ("smallest", "median", "largest"):
            width, height = getattr(sizes, name)
            lines.append((f"{name} image", f"{width}x{height}"))
    if (objects := report.objects_per_image) is not None:
        least, most = objects.minimum, objects.maximum
        lines.append(("objects per image", f"{least} to {most}, median {objects.median}"))
    return lines


class _Bar:
    """One bar for the shards of a split."""

    def __init__(self, progress: Progress, title: str, shards: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=shards)

    def unit_finished(self, _report: UnitReport) -> None:
        self._progress.advance(self._task)

    def unit_failed(self, _failure: Failure) -> None:
        self._progress.advance(self._task)


class _Lines:
    """A line whenever another tenth of the shards is settled."""

    def __init__(self, console: Console, title: str, shards: int) -> None:
        self._console, self._title, self._shards = console, title, shards
        self._settled = 0

    def unit_finished(self, _report: UnitReport) -> None:
        self._settle()

    def unit_failed(self, _failure: Failure) -> None:
        self._settle()

    def _settle(self) -> None:
        before = self._settled * 100 // self._shards
        self._settled += 1
        now = self._settled * 100 // self._shards
        if before // _LINE_EVERY_PERCENT != now // _LINE_EVERY_PERCENT:
            self._console.print(f"{self._title}: {self._settled} of {self._shards} shards")
