"""What `samdistill normalize` shows; fits into 60 columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.engine.work import Failure, Listener, UnitReport
from pipelines.jobs.shard_normalized import NormalizeStage
from schemas.manifests import SplitRecord

_NARROW = 80
_LINE_EVERY_PERCENT = 10


@contextlib.contextmanager
def open_progress(stage: NormalizeStage) -> Iterator[Listener]:
    """Show a bar on a terminal, and elsewhere a line per tenth of the shards."""
    console = _console()
    title = f"{stage.normalizer.dataset}/{stage.normalizer.split}"
    if not console.is_terminal:
        yield _Lines(console, title, len(stage.plans))
        return
    columns = [TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn()]
    if console.width >= _NARROW:
        columns.append(TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, title, len(stage.plans))


def show_split(record: SplitRecord, shard_bytes: int) -> None:
    """Print what a complete split holds."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    table.add_row("shards", f"{record.shards}")
    table.add_row("rows", f"{record.rows}, {record.rows_per_shard} per shard at most")
    for name, count in sorted(record.counts.items()):
        table.add_row(name.replace("_", " "), f"{count}")
    table.add_row("phrases", f"{record.phrases}")
    for reason, count in sorted(record.quarantined.items()):
        table.add_row(f"quarantined: {reason}", f"{count}")
    table.add_row("bytes", decimal(shard_bytes))
    console = _console()
    console.print(f"{record.dataset}/{record.split}", style="bold")
    console.print(table)


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


def _console() -> Console:
    return Console(highlight=False, markup=False)
