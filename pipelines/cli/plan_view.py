"""What `samdistill plan` shows."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from pipelines.cli.consoles import open_console
from pipelines.cli.tables import print_table
from pipelines.jobs.plan import Plan, PlannedSplit
from pipelines.jobs.plan_download import PlannedDownload

_ROWS = {
    "sample": "images",
    "object_frame": "object-frames",
    "phrase": "phrases",
    "prompt": "prompts",
}


def show_plan(plan: Plan) -> None:
    """Print a plan: splits, then the sums."""
    console = open_console()
    for split in plan.splits:
        _show_split(console, split)
    facts = Table.grid(padding=(0, 2))
    if plan.download is not None:
        facts.add_row("to download", _download(plan.download))
    facts.add_row("features", f"{decimal(plan.feature_bytes)} in {plan.files:,} files")
    facts.add_row("left to cache", _left(plan))
    facts.add_row("disk", _disk(plan))
    facts.add_row("device", _device(plan))
    facts.add_row("wall time", _wall(plan))
    facts.add_row("an epoch reads", ", ".join(map(_epoch, plan.splits)))
    facts.add_row("in a bucket", f"{plan.put_requests:,} PUT requests")
    facts.add_row("dollars", ", ".join(f"{name} {cost:,.2f}" for name, cost in _costs(plan)))
    console.print(facts)


def _show_split(console: Console, split: PlannedSplit) -> None:
    counts = ", ".join(f"{count:,} {_ROWS[kind]}" for kind, count in split.rows.items())
    console.print(f"{split.dataset}/{split.split}: {counts} ({split.counts})", style="bold")
    rows = [
        (
            array.array,
            f"{array.rows:,}",
            f"{array.row_bytes:,}",
            f"{array.shards:,}",
            f"{array.files:,}",
            decimal(array.bytes),
            decimal(array.bytes_left),
        )
        for array in split.features
    ]
    headings = ("array", "rows", "bytes of a row", "shards", "files", "bytes", "left")
    print_table(console, headings, rows, {"bytes of a row", "shards", "files", "bytes"})
    for note in split.notes:
        console.print(f"note: {note}")


def _download(download: PlannedDownload) -> str:
    text = f"{decimal(download.bytes)} in {download.files:,} archives"
    if download.unknown_sizes:
        text += f" and {download.unknown_sizes:,} of unknown size"
    if download.present_bytes:
        text += f"; {decimal(download.present_bytes)} are there"
    if download.links_end is not None:
        text += f"; the first link ends {download.links_end}"
    if download.needed_mb_s is not None:
        text += f", needs {download.needed_mb_s:,.1f} MB/s"
    return text


def _left(plan: Plan) -> str:
    text = f"{decimal(plan.bytes_left)} in {plan.files_left:,} files"
    teachers = sorted({split.cached_by for split in plan.splits if split.cached_by})
    return f"{text}; the rest is cached by {', '.join(teachers)}" if teachers else text


def _disk(plan: Plan) -> str:
    if plan.free_bytes is None:
        return "a bucket"
    verdict = "fits" if plan.fits else "DOES NOT FIT"
    return f"{decimal(plan.free_bytes)} free: {verdict}"


def _device(plan: Plan) -> str:
    if plan.device_hours is None:
        return "unknown: use --calibrate"
    speeds = plan.speeds
    rates = ", ".join(
        f"{1 / seconds:,.2f} {_ROWS[kind]}/s" for kind, seconds in speeds.seconds.items() if seconds
    )
    return f"{plan.device_hours:,.2f} hours ({speeds.source}: {rates})"


def _wall(plan: Plan) -> str:
    if plan.wall_hours is None:
        return "unknown"
    return (
        f"{plan.wall_hours:,.2f} hours with {plan.workers} workers, limited by {plan.limited_by} "
        f"({plan.speeds.write_gb:.2f} GB/s {plan.speeds.source})"
    )


def _epoch(split: PlannedSplit) -> str:
    reads = f"{split.epoch_reads:,} reads"
    if split.epoch_bytes is None:
        return f"{split.split} {reads}, bytes unknown until normalized"
    return f"{split.split} {decimal(split.epoch_bytes)} in {reads}"


def _costs(plan: Plan) -> list[tuple[str, float]]:
    return [(name.replace("_", " "), cost) for name, cost in plan.dollars.items()]
