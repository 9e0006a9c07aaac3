"""What `samdistill datasets` and `samdistill download` show; fits into 60 columns."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Literal

from rich import box
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
from rich.table import Table
from rich.text import Text

from downloaders.base import Downloader, DownloadPlan, RemoteFile, SplitFacts
from downloaders.disk import free_bytes
from downloaders.raw_folder import RawFolder
from pipelines.jobs.download import DownloadReport
from pipelines.jobs.download_threads import FileProgress

_NARROW = 80
_FILES_SHOWN = 20
_LINE_EVERY_PERCENT = 10
_LINE_EVERY_BYTES = 1_000_000_000


def show_datasets(downloaders: Sequence[Downloader]) -> None:
    """Print one line per data set."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "what", "media", "splits"):
        table.add_column(heading, overflow="fold")
    table.add_column("download", justify="right", no_wrap=True)
    for downloader in downloaders:
        entry = downloader.entry
        splits = " ".join(split.name for split in entry.splits if split.by_default)
        table.add_row(entry.name, entry.title, entry.media, splits, plan_bytes(downloader.plan([])))
    _console().print(table)


def show_dataset(downloader: Downloader) -> None:
    """Print all that is known of one data set."""
    entry = downloader.entry
    console = _console()
    console.print(entry.title, style="bold")
    console.print(
        _grid(
            ("about", entry.about),
            ("licence", entry.licence + (" (--accept-licence)" if entry.must_accept else "")),
            ("features", ", ".join(entry.suitable_features)),
            ("to do first", entry.to_do or "nothing"),
            ("homepage", entry.homepage),
            ("cite", entry.cite),
        )
    )
    console.print(_split_table(downloader))


def show_plan(plan: DownloadPlan, raw: RawFolder, origin: str | None) -> None:
    """Print what will be brought, from where, to where."""
    console, more = _console(), len(plan.files) - _FILES_SHOWN
    console.print(f"{plan.entry.title}: {' '.join(plan.splits)}", style="bold")
    console.print(
        _grid(
            ("licence", plan.entry.licence),
            *((("to do first", plan.entry.to_do),) if plan.entry.to_do else ()),
            ("from", origin or "the publisher"),
            ("into", f"{raw.path} ({decimal(free_bytes(raw.path))} free)"),
            ("files", f"{len(plan.files)}, {plan_bytes(plan)} as published"),
            *(("", f"{file.name}  {_size(file)}") for file in plan.files[:_FILES_SHOWN]),
            *((("", f"… and {more} more"),) if more > 0 else ()),
        )
    )


def show_report(report: DownloadReport) -> None:
    """Print one line per file on standard output, and one per failure on standard error."""
    console = _console()
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


def plan_bytes(plan: DownloadPlan) -> str:
    """Return the size of a plan for people; files of unknown size are counted beside it."""
    if plan.unknown_sizes == len(plan.files):
        return "unknown"
    more = f" + {plan.unknown_sizes} unknown" if plan.unknown_sizes else ""
    return decimal(plan.total_bytes) + more


@contextlib.contextmanager
def open_progress(*, published_sizes: bool) -> Iterator[FileProgress]:
    """Show bars on a terminal, and elsewhere a line per tenth of a file.

    Parameters
    ----------
    published_sizes
        Whether the files have the sizes that their publisher states; not with --any-content.
    """
    console = _console()
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
            if done == file.bytes and len(self._tasks) > _FILES_SHOWN:
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
    name = TextColumn("{task.description}", markup=False)
    columns: list[ProgressColumn] = [name, BarColumn(bar_width=None), DownloadColumn()]
    if console.width >= _NARROW:
        columns += [TransferSpeedColumn(), TimeRemainingColumn()]
    return columns


def _error_line(line: str) -> None:
    # In one piece: threads write. Not by a console, which would bypass the bars' redirection.
    sys.stderr.write(line + "\n")


def _console() -> Console:
    return Console(highlight=False, markup=False)


def _grid(*rows: tuple[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(label, style="dim"), Text(value))
    return grid


def _split_table(downloader: Downloader) -> Table:
    """Return a row per split; what no split of the data set has gets no column."""
    splits = downloader.entry.splits
    sizes = [plan_bytes(downloader.plan([split.name])) for split in splits]
    columns = {
        "split": [split.name for split in splits],
        "clips": [_count(split.clips) for split in splits],
        "images": [_count(split.images) for split in splits],
        "objects": [_count(split.objects) for split in splits],
        "records": [_count(split.records) for split in splits],
        "counts": [_trust(split) for split in splits],
        "download": sizes,
        "": [split.about for split in splits],
    }
    shown = {heading: cells for heading, cells in columns.items() if any(cells)}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in shown:
        justify: Literal["left", "right"] = "left" if heading in ("split", "") else "right"
        # A narrow terminal may break names and sizes in two, never numbers.
        whole = heading in ("clips", "images", "objects", "records")
        table.add_column(heading, justify=justify, no_wrap=whole, overflow="fold")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def _trust(split: SplitFacts) -> str:
    """Say how far the numbers of a split are to be believed."""
    if split.images is split.clips is split.objects is split.records is None:
        return ""
    return "checked" if split.verified else "as stated"


def _count(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _size(file: RemoteFile) -> str:
    return "size unknown" if file.bytes is None else decimal(file.bytes)
