"""What `samdistill publish`, `verify` and `inspect` show; fits into 60 columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import Progress

from pipelines.cli.consoles import open_console
from pipelines.cli.tables import print_table, shape_text

if TYPE_CHECKING:
    from pipelines.report.summary import ManifestSummary
    from pipelines.store.findings import Finding
    from pipelines.store.published import PublishedManifest
    from pipelines.store.verify import Verification
    from schemas.features import FeatureSpec

_PRODUCT = ("product", "row", "codec")
_IMAGES = ("images", "", "")


def show_published(published: PublishedManifest) -> None:
    """Print which version a manifest has, and what it names."""
    console = open_console()
    manifest = published.manifest
    console.print(f"{published.reference}  blake3 {published.digest}")
    for digest, spec in manifest.teachers.items():
        console.print(f"teacher {digest}  {spec.architecture}, weights {spec.weights[:12]}")
    for split in manifest.splits:
        place = f"{split.split.dataset}/{split.split.split}"
        weight = f"  weight {manifest.weights[place]}" if manifest.weights else ""
        console.print(f"\n{place}{weight}", style="bold")
        parts = [(_IMAGES, split.part), *((_cells(f.feature), f.part) for f in split.features)]
        rows = [
            (*cells, str(part.rows), str(part.shards), decimal(part.data_bytes))
            for cells, part in parts
        ]
        print_table(console, (*_PRODUCT, "rows", "shards", "bytes"), rows, {"codec"})


def show_rehearsed(published: PublishedManifest) -> None:
    """Print that nothing was written."""
    open_console().print(f"\n{published.reference} is shown only; nothing was written")


def show_summary(summary: ManifestSummary) -> None:
    """Print what a manifest holds, in numbers."""
    console = open_console()
    console.print(f"{summary.name}@{summary.version}  blake3 {summary.digest}")
    for digest, spec in summary.teachers.items():
        console.print(f"teacher {digest}  {spec.architecture}, weights {spec.weights[:12]}")
    for split in summary.splits:
        console.print(f"\n{split.dataset}/{split.split}", style="bold")
        counts = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in split.counts.items() if n)
        console.print(f"{counts}, phrases {split.phrases}")
        for found in split.quarantined:
            console.print(
                f"quarantined {found.count}: {found.reason} ({', '.join(found.keys[:3])})"
            )
        rows = [(*_IMAGES, str(split.rows), "", decimal(split.bytes))]
        for item in split.features:
            left_out = str(sum(item.quarantined.values()))
            rows.append((*_cells(item.feature), str(item.rows), left_out, decimal(item.bytes)))
        print_table(console, (*_PRODUCT, "rows", "left out", "bytes"), rows, {"codec"})


def show_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Print each finding on a line of its own."""
    for finding in findings:
        console.print(str(finding))


def show_verification(console: Console, reference: str, found: Verification, *, deep: bool) -> None:
    """Print what was looked at."""
    rows = f", {found.rows} rows" if deep else " (names and sizes; --deep reads them)"
    console.print(
        f"{reference}: {len(found.findings)} findings in {found.files} files, "
        f"{decimal(found.bytes)}{rows}"
    )


class VerifyProgress:
    """A bar while checks run, on a terminal only."""

    def __init__(self, title: str) -> None:
        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> Self:
        if self._bar.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Hear that a check is complete."""
        self._bar.update(self._task, completed=done, total=total)


def _cells(feature: FeatureSpec) -> tuple[str, str, str]:
    return feature.array_name, shape_text(feature.item_shape), feature.codec
