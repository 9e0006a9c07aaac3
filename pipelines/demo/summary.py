"""What the demo did, read back from what it left on disk."""

from __future__ import annotations

import resource
from pathlib import Path

import msgspec

from pipelines.store.open import open_store
from pipelines.store.published import find_manifest
from pipelines.student.checkpoint import FILE_NAME as CHECKPOINT
from pipelines.student.metrics import make_report, read_metrics
from schemas.ids import canonical_json
from schemas.manifests import ManifestSplit


class DemoDataset(msgspec.Struct, frozen=True, kw_only=True):
    """One normalized split of the demo."""

    rows: int
    counts: dict[str, int]
    quarantined: dict[str, int]
    bytes: int


class DemoFeature(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of feature, over all splits."""

    rows: int
    bytes: int


class DemoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``demo.json``."""

    datasets: dict[str, DemoDataset]
    features: dict[str, DemoFeature]
    loss_first: float
    loss_last: float
    seconds: float
    peak_memory_bytes: int
    """Largest resident memory of any single process of the demo."""


def summarize(root: Path, manifest: str, run: Path, seconds: float) -> DemoSummary:
    """Return the summary of a finished demo, and write it to ``demo.json`` of its root."""
    splits = find_manifest(open_store(str(root)), manifest).manifest.splits
    report = make_report(run / CHECKPOINT, read_metrics(run), new_steps=0)
    summary = DemoSummary(
        datasets={f"{s.split.dataset}/{s.split.split}": _dataset(s) for s in splits},
        features=_features(splits),
        loss_first=report.first_loss,
        loss_last=report.last_loss,
        seconds=seconds,
        peak_memory_bytes=_peak_memory(),
    )
    (root / "demo.json").write_bytes(canonical_json(summary))
    return summary


def _dataset(published: ManifestSplit) -> DemoDataset:
    return DemoDataset(
        rows=published.split.rows,
        counts=published.split.counts,
        quarantined=published.split.quarantined,
        bytes=published.part.data_bytes,
    )


def _features(splits: tuple[ManifestSplit, ...]) -> dict[str, DemoFeature]:
    features: dict[str, DemoFeature] = {}
    for found in (feature for split in splits for feature in split.features):
        name = found.feature.array_name
        before = features.get(name, DemoFeature(rows=0, bytes=0))
        features[name] = DemoFeature(
            rows=before.rows + found.part.rows, bytes=before.bytes + found.part.data_bytes
        )
    return features


def _peak_memory() -> int:
    """Return the largest resident memory of this process or of one that it waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(number).ru_maxrss for number in who) * 1024
