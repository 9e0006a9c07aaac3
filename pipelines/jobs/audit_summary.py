"""What an audit says of an array, over the shards that were drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.jobs.audit_shard import ShardAudit


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """Numbers over shards of one array. None where nothing was compared."""

    split: str
    array: str
    shards: int
    """Of the array."""
    drawn: int
    """Shards of which rows were drawn."""
    compared: int
    """Rows."""
    absent: int
    cosine_mean: float | None
    cosine_worst: float | None
    error: float | None
    """Largest difference of two values, as a share of the largest magnitude of their row."""
    minimum: float | None
    maximum: float | None
    dead_channels: tuple[int, ...]
    """Those of any shard."""
    not_finite: int
    findings: int


def summarize(audits: Sequence[ShardAudit], shards: int) -> AuditSummary:
    """Return the numbers over ``audits``, at least one, of an array that has so many shards."""
    rows = [row for audit in audits for row in audit.compared]
    cosines = [row.cosine for row in rows]
    return AuditSummary(
        split=audits[0].split,
        array=audits[0].array,
        shards=shards,
        drawn=len(audits),
        compared=len(rows),
        absent=sum(audit.absent for audit in audits),
        cosine_mean=sum(cosines) / len(cosines) if cosines else None,
        cosine_worst=min(cosines, default=None),
        error=max((row.error for row in rows), default=None),
        minimum=min((a.minimum for a in audits if a.minimum is not None), default=None),
        maximum=max((a.maximum for a in audits if a.maximum is not None), default=None),
        dead_channels=tuple(sorted({one for audit in audits for one in audit.dead_channels})),
        not_finite=sum(audit.not_finite for audit in audits),
        findings=sum(len(audit.findings) for audit in audits),
    )
