"""What copying a manifest shows; fits into 60 columns."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from rich import progress
from rich.console import Console
from rich.filesize import decimal

from pipelines.cli.consoles import open_console

if TYPE_CHECKING:
    from pipelines.jobs.copy_manifest import CopyPlan

_NARROW = 80
_LINE_EVERY_PERCENT = 10


def show_plan(plan: CopyPlan, url: str) -> None:
    """Print what is to be copied."""
    there = plan.all_files - plan.missing_files
    open_console().print(
        f"\nto {url}\n{plan.missing_files} files to copy, {decimal(plan.missing_bytes)}; "
        f"{there} of {plan.all_files} are there"
    )


def show_copied(plan: CopyPlan, url: str) -> None:
    """Print that the target has the manifest."""
    open_console().print(f"{plan.published.reference} is published in {url}")


class CopyProgress:
    """A bar of bytes with the count of files; a line for each tenth where there is no terminal."""

    def __init__(self, plan: CopyPlan) -> None:
        self._lock = threading.Lock()
        self._total, self._files = plan.missing_bytes, plan.missing_files
        self._done = self._done_files = 0
        console = Console(stderr=True)
        columns: list[progress.ProgressColumn] = [
            progress.BarColumn(None),
            progress.DownloadColumn(),
            progress.TextColumn("{task.fields[files]} files"),
        ]
        if console.width >= _NARROW:
            columns += [progress.TransferSpeedColumn(), progress.TimeRemainingColumn()]
        self._bar = progress.Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("copy", total=self._total, files=self._count())

    def __enter__(self) -> Self:
        if self._bar.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def bytes_copied(self, count: int) -> None:
        """See ``CopyListener.bytes_copied``."""
        with self._lock:
            before, self._done = self._done, self._done + count
            self._bar.update(self._task, completed=self._done)
            if not self._bar.console.is_terminal:
                self._print_tenth(before)

    def files_copied(self, count: int) -> None:
        """See ``CopyListener.files_copied``."""
        with self._lock:
            self._done_files += count
            self._bar.update(self._task, files=self._count())

    def _count(self) -> str:
        return f"{self._done_files}/{self._files}"

    def _print_tenth(self, before: int) -> None:
        then, now = (done * 100 // max(1, self._total) for done in (before, self._done))
        if then // _LINE_EVERY_PERCENT != now // _LINE_EVERY_PERCENT:
            self._bar.console.print(
                f"copied {decimal(self._done)} of {decimal(self._total)}, {self._count()} files"
            )
