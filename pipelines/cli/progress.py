"""A run on the terminal: one bar with rate, time left and failures; plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich import progress
from rich.console import Console

from pipelines.engine.progress import Progress
from pipelines.engine.work import Failure, UnitReport

_NARROW = 80
_LINE_EVERY_PERCENT = 10


@contextlib.contextmanager
def open_progress(console: Console, title: str, units: int) -> Iterator[Progress]:
    """Show a listener's sums while the block runs."""
    if not console.is_terminal:
        yield _Lines(console, title, units)
        return
    columns: list[progress.ProgressColumn] = [
        progress.TextColumn("{task.description}"),
        progress.BarColumn(None),
        progress.MofNCompleteColumn(),
    ]
    if console.width >= _NARROW:
        columns += [progress.TextColumn("{task.fields[rate]}"), progress.TimeRemainingColumn()]
    with progress.Progress(*columns, console=console) as bar:
        yield _Bar(bar, title, units)


class _Bar(Progress):
    def __init__(self, bar: progress.Progress, title: str, units: int) -> None:
        super().__init__(units)
        self._bar = bar
        self._task = bar.add_task(title, total=units, rate="")

    def unit_finished(self, report: UnitReport) -> None:
        super().unit_finished(report)
        self._refresh()

    def unit_failed(self, failure: Failure) -> None:
        super().unit_failed(failure)
        self._bar.console.print(failure_text(failure), markup=False)
        self._refresh()

    def _refresh(self) -> None:
        self._bar.update(self._task, completed=self.settled, rate=rate_text(self))


class _Lines(Progress):
    """A line whenever another tenth of the units is settled."""

    def __init__(self, console: Console, title: str, units: int) -> None:
        super().__init__(units)
        self._console, self._title = console, title

    def unit_finished(self, report: UnitReport) -> None:
        before = self.settled
        super().unit_finished(report)
        self._print_tenth(before)

    def unit_failed(self, failure: Failure) -> None:
        before = self.settled
        super().unit_failed(failure)
        self._console.print(failure_text(failure), markup=False)
        self._print_tenth(before)

    def _print_tenth(self, before: int) -> None:
        then, now = (count * 100 // self.units for count in (before, self.settled))
        if then // _LINE_EVERY_PERCENT == now // _LINE_EVERY_PERCENT:
            return
        text = f"{self._title}: {self.settled} of {self.units} shards, {rate_text(self)}"
        if self.seconds_left:
            text += f", {self.seconds_left:.0f} s left"
        self._console.print(text, markup=False)


def failure_text(failure: Failure) -> str:
    """Return a short line; the error itself comes with the summary."""
    return f"failed {failure.unit.id} ({failure.kind})"


def rate_text(so_far: Progress) -> str:
    """Return the rate, and how many shards failed if any did."""
    failed = f", {len(so_far.failures)} failed" if so_far.failures else ""
    return f"{so_far.rows_per_second:.1f} rows/s{failed}"
