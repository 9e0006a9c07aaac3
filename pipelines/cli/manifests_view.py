"""What `samdistill manifests` shows; fits into 60 columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.filesize import decimal
from rich.table import Table

from pipelines.cli.consoles import open_console

if TYPE_CHECKING:
    from pipelines.store.published import PublishedManifest

_WIDE = 100
_DIGEST_SHOWN = 12


def show_manifests(found: Sequence[PublishedManifest]) -> None:
    """Print a line for each version; a wide terminal shows its splits, features and teachers."""
    console = open_console()
    wide = console.width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("manifest", no_wrap=True)
    for heading in ("splits", "features", "teachers") if wide else ("splits",):
        table.add_column(heading, overflow="fold")
    for heading in ("rows", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("blake3", no_wrap=True)
    for published in found:
        facts = facts_of(published)
        names = [", ".join(facts[name]) for name in ("splits", "features", "teachers")]
        table.add_row(
            published.reference,
            *(names if wide else names[:1]),
            str(facts["rows"]),
            decimal(facts["bytes"]),
            published.digest[:_DIGEST_SHOWN],
        )
    console.print(table)


def show_json(found: Sequence[PublishedManifest]) -> None:
    """Print the same, and whole digests, as JSON."""
    facts = [facts_of(published) for published in found]
    open_console().print(json.dumps(facts, indent=2, sort_keys=True))


def facts_of(published: PublishedManifest) -> dict[str, Any]:
    """Return what a version names, in numbers and names."""
    manifest = published.manifest
    features = [feature for split in manifest.splits for feature in split.features]
    parts = [split.part for split in manifest.splits] + [feature.part for feature in features]
    return {
        "manifest": published.reference,
        "splits": [f"{split.split.dataset}/{split.split.split}" for split in manifest.splits],
        "features": sorted({feature.feature.array_name for feature in features}),
        "teachers": sorted(manifest.teachers),
        "rows": sum(split.part.rows for split in manifest.splits),
        "bytes": sum(part.data_bytes for part in parts),
        "blake3": published.digest,
    }
