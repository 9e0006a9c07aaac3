"""What `samdistill download` shows; fits into 60 columns."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from downloaders.base import DownloadPlan, RemoteFile
from downloaders.disk import free_bytes
from downloaders.raw_folder import RawFolder
from pipelines.cli.consoles import open_console
from pipelines.cli.datasets_view import NARROW, file_rows, plan_bytes, print_labelled
from pipelines.jobs.download import DownloadReport
from pipelines.jobs.download_threads import FileProgress

_BARS_SHOWN = 20
_LINE_EVERY_PERCENT = 10
_LINE_EVERY_BYTES = 1_000_000_000


def show_plan(plan: DownloadPlan, raw: RawFolder, origin: str | None) -> None:
    """Print what will be brought, from where, to where."""
    console = open_console(wraps=True)
    console.print(f"{plan.entry.title}: {' '.join(plan.splits)}", style="bold")
    print_labelled(
        console,
        ("licence", plan.entry.licence),
        *((("to do first", plan.entry.to_do),) if plan.entry.to_do else ()),
        ("from", origin or "the publisher"),
        ("into", f"{raw.path} ({decimal(free_bytes(raw.path))} free)"),
        ("files", f"{len(plan.files)}, {plan_bytes(plan)} as published"),
        *file_rows(plan.files),
    )


def show_report(report: DownloadReport) -> None:
    """Print one line per file on standard output, and one per failure on standard error."""
    console = open_console(wraps=True)
    for outcome in report.outcomes:
        if outcome.status == "failed":
            continue
        size = decimal(outcome.bytes) if outcome.bytes else outcome.detail
        console.print(f"{outcome.status:<8} {outcome.name}  {size}")
    reasons: dict[str, list[str]] = {}
    for outcome in report.failed:
        reasons.setdefault(outcome.detail, []).append(outcome.name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        _error_line(f"failed   {names[0]}{more}: {reason}")


def show_warning(line: str) -> None:
    """Print one line on standard error; while bars are shown, above them."""
    _error_line(f"warning: {line}")


@contextlib.contextmanager
def open_progress(*, published_sizes: bool) -> Iterator[FileProgress]:
    """Show bars on a terminal, and elsewhere a line per tenth of a file.

    Parameters
    ----------
    published_sizes
        Whether the files have the sizes that their publisher states; not with --any-content.
    """
    console = open_console(wraps=True)
    if not console.is_terminal:
        yield _Lines(console, published_sizes)
        return
    # Lines for a terminal go above the bars; those for a file must stay in the file.
    redirect = sys.stderr.isatty()
    with Progress(*_columns(console), console=console, redirect_stderr=redirect) as progress:
        yield _Bars(progress, published_sizes)


class _Bars:
    """One bar per file, from its first byte on; of many files, those that are whole vanish."""

    def __init__(self, progress: Progress, published_sizes: bool) -> None:
        self._progress, self._lock = progress, threading.Lock()
        self._published_sizes = published_sizes
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, file: RemoteFile, done: int) -> None:
        with self._lock:
            task = self._tasks.get(file.name)
            if task is None:
                # Added at its first position, so that bytes of an earlier run are no speed.
                total = file.bytes if self._published_sizes else None
                self._tasks[file.name] = self._progress.add_task(
                    file.name, total=total, completed=done
                )
                return
            self._progress.update(task, completed=done)
            if done == file.bytes and len(self._tasks) > _BARS_SHOWN:
                self._progress.update(task, visible=False)


class _Lines:
    """A line whenever a file gets a tenth further."""

    def __init__(self, console: Console, published_sizes: bool) -> None:
        self._console, self._lock = console, threading.Lock()
        self._published_sizes = published_sizes
        self._steps: dict[str, int] = {}

    def __call__(self, file: RemoteFile, done: int) -> None:
        total = file.bytes if self._published_sizes else None
        every = (total or 0) * _LINE_EVERY_PERCENT // 100 or _LINE_EVERY_BYTES
        step = done // every
        with self._lock:
            before = self._steps.setdefault(file.name, step)
            if step > before:
                self._steps[file.name] = step
                of = "" if total is None else f" of {decimal(total)}"
                self._console.print(f"{file.name}  {decimal(done)}{of}")


def _columns(console: Console) -> list[ProgressColumn]:
    # A long name takes a second line, and leaves room for the bar and the numbers.
    name = Column(overflow="fold", max_width=console.width // 2)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=None),
        DownloadColumn(table_column=Column(no_wrap=True)),
    ]
    if console.width >= NARROW:
        columns += [TransferSpeedColumn(), TimeRemainingColumn()]
    return columns


def _error_line(line: str) -> None:
    # In one piece: threads write. Not by a console, which would bypass the bars' redirection.
    sys.stderr.write(line + "\n")
