"""What `samdistill datasets` shows; below 80 columns it moves things, and cuts no name."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from downloaders.base import Downloader, DownloadPlan, RemoteFile, SplitFacts
from pipelines.cli.consoles import open_console

NARROW = 80
_FILES_SHOWN = 10


def show_datasets(downloaders: Sequence[Downloader]) -> None:
    """Print one line per data set."""
    console = open_console(wraps=True)
    wide = console.width >= NARROW
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("what")
    table.add_column("media", no_wrap=True)
    if wide:
        table.add_column("splits")
    table.add_column("download", justify="right", no_wrap=True)
    for downloader in downloaders:
        entry = downloader.entry
        splits = " ".join(split.name for split in entry.splits if split.by_default)
        size = plan_bytes(downloader.plan([]))
        row = (entry.name, entry.title, entry.media, splits, size)
        table.add_row(*row if wide else row[:3] + row[4:])
    console.print(table)
    console.print("All about one of them: samdistill datasets NAME")


def show_dataset(downloader: Downloader) -> None:
    """Print all that is known of one data set."""
    entry = downloader.entry
    console = open_console(wraps=True)
    console.print(entry.title, style="bold")
    print_labelled(
        console,
        ("about", entry.about),
        ("licence", entry.licence + (" (--accept-licence)" if entry.must_accept else "")),
        ("features", ", ".join(entry.suitable_features)),
        ("to do first", entry.to_do or "nothing"),
        ("homepage", entry.homepage),
        ("cite", entry.cite),
    )
    wide = console.width >= NARROW
    console.print(_split_table(downloader, remarks=wide))
    if not wide:
        print_labelled(console, *((s.name, s.about) for s in entry.splits if s.about))
        console.print()
    files = downloader.plan([split.name for split in entry.splits]).files
    print_labelled(console, ("archives", f"{len(files)}"), *file_rows(files))


def plan_bytes(plan: DownloadPlan) -> str:
    """Return the size of a plan for people; files of unknown size are counted beside it."""
    if plan.unknown_sizes == len(plan.files):
        return "unknown"
    more = f" + {plan.unknown_sizes} unknown" if plan.unknown_sizes else ""
    return decimal(plan.total_bytes) + more


def file_rows(files: Sequence[RemoteFile]) -> list[tuple[str, str]]:
    """Return a row without label for each file: its name, size and kind of checksum, if any."""
    rows = []
    for file in files[:_FILES_SHOWN]:
        size = "size unknown" if file.bytes is None else decimal(file.bytes)
        checksum = f", {file.checksum.partition(':')[0]}" if file.checksum else ""
        rows.append(("", f"{file.name}  {size}{checksum}"))
    more = len(files) - _FILES_SHOWN
    return [*rows, ("", f"… and {more} more")] if more > 0 else rows


def print_labelled(console: Console, *rows: tuple[str, str]) -> None:
    """Print values beside their labels; all below them if else a word, as a URL, would be cut."""
    beside = console.width - 2 - max((len(label) for label, _ in rows), default=0)
    longest = max((len(word) for _, value in rows for word in value.split()), default=0)
    if longest > beside:
        for label, value in rows:
            if label:
                console.print(Text(label, style="dim"))
            # A word wider than the terminal stays whole, for copying: the terminal folds it.
            for line in _wrapped(value, console.width - 2):
                console.print(f"  {line}", soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(label, style="dim"), Text(value))
    console.print(grid)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _split_table(downloader: Downloader, *, remarks: bool) -> Table:
    """Return a row per split; what no split of the data set has gets no column."""
    splits = downloader.entry.splits
    columns = {
        "split": [split.name for split in splits],
        "clips": [_count(split.clips) for split in splits],
        "images": [_count(split.images) for split in splits],
        "objects": [_count(split.objects) for split in splits],
        "records": [_count(split.records) for split in splits],
        "counts": [_trust(split) for split in splits],
        "download": [plan_bytes(downloader.plan([split.name])) for split in splits],
        "": [split.about if remarks else "" for split in splits],
    }
    shown = {heading: cells for heading, cells in columns.items() if any(cells)}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in shown:
        words = heading in ("counts", "download", "")
        left = heading in ("split", "")
        table.add_column(heading, justify="left" if left else "right", no_wrap=not words)
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
