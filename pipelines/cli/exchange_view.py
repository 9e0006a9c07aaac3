"""What `samdistill export` and `samdistill import` show; fits into 60 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pipelines.cli.consoles import open_console

if TYPE_CHECKING:
    from pipelines.exchange.base import ExportedShard, ExportRecord


class ShardProgress:
    """A bar of shards, on a terminal only."""

    def __init__(self, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> Self:
        if self._bar.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Hear that a shard is complete."""
        self._bar.update(self._task, completed=done, total=total)


def show_exported(record: ExportRecord, done: Sequence[ExportedShard], url: str) -> None:
    """Print what was written, split by split."""
    console = open_console()
    for split in record.splits:
        mine = [shard for shard in done if shard.split == split.name]
        stored = sum(file.bytes for shard in mine for file in shard.files)
        samples = sum(shard.samples for shard in mine)
        console.print(
            f"{split.name}: {samples} samples in {len(mine)} shards, {decimal(stored)}; "
            f"licence {split.licence}"
        )
    names = ", ".join(feature.array_name for feature in record.features) or "no features"
    console.print(f"{record.format} with {names} in {url}")
