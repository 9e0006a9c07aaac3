"""The last step of normalizing: the tables of the whole split, then split.json."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.jobs.check_counts import require_published
from pipelines.jobs.grow_split import adopt_features, reopen_split, require_growable
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.jobs.split_tables import put_split_tables
from pipelines.normalize.base import Normalizer
from pipelines.normalize.categories import described_categories
from pipelines.normalize.subset import Subset
from pipelines.store import layout
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import read_table
from schemas.errors import BudgetError, ConflictError, UsageError
from schemas.features import RowKind
from schemas.ids import canonical_json, digest_bytes, parse_json
from schemas.manifests import CommitRecord, FileRecord, SplitRecord
from schemas.prompts import still_prompts
from schemas.tables import SAMPLES

_EXAMPLES = 3
_BUDGET = re.compile(r"(?P<number>\d+|\d+\.\d+(?=%))(?P<percent>%?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many rows of a split may be quarantined before it is refused."""

    share: float = 0.01
    rows: int | None = None
    """A count; when given, the share does not matter."""

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``1%`` or a number of rows, for example ``5``."""
        found = _BUDGET.fullmatch(text)
        if found is None or (found["percent"] and float(found["number"]) > 100):
            raise UsageError(
                f"--max-quarantined {text}", expected="a share as 1%, or a count of rows as 5"
            )
        if found["percent"]:
            return cls(share=float(found["number"]) / 100)
        return cls(rows=int(found["number"]))

    def allowed(self, rows: int) -> int:
        """Return how many of ``rows`` rows may be quarantined."""
        return int(rows * self.share) if self.rows is None else self.rows


def finish_split(
    store: ObjectStore,
    stage: NormalizeStage,
    budget: Budget,
    *,
    any_count: bool = False,
    grow: bool = False,
) -> SplitRecord:
    """Write the tables of the whole split and then ``split.json``, or find them there alike.

    Parameters
    ----------
    grow
        A split that is complete with fewer shards gives way to this one (``grow_split``).

    Raises
    ------
    BudgetError
        Too many rows are quarantined. The shards stay; split.json is not written.
    DataError
        The counts are not the published ones (``require_published``). Likewise.
    ConflictError
        A shard, or an earlier split.json, was made from another source or in another way.
    """
    commits = [stage.require_same_identity(plan.shard) for plan in stage.plans]
    dataset, split = stage.normalizer.dataset, stage.normalizer.split
    _check_budget(store, commits, budget)
    key = layout.split_key(dataset, split)
    if grow:
        _reopen(store, stage, commits)
    if store.size(key) is not None:
        return _same_split(parse_json(store.get(key), SplitRecord, key), commits, key)
    described = described_categories(stage.normalizer)
    tables = put_split_tables(store, dataset, split, len(commits), described)
    files = (*tables.files, *_put_ids(store, stage.normalizer))
    record = _split_record(stage, commits, tables.phrases, files)
    require_published(stage.normalizer, record, any_count=any_count)
    body = canonical_json(record)
    put_identical(store, FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body)), body)
    if grow:
        adopt_features(store, record)
    return record


def _reopen(store: ObjectStore, stage: NormalizeStage, commits: list[CommitRecord]) -> None:
    """Let the split take the shards that came later; one that has them all stays as it is."""
    dataset, split = stage.normalizer.dataset, stage.normalizer.split
    key = layout.split_key(dataset, split)
    if store.size(key) is not None:
        earlier = parse_json(store.get(key), SplitRecord, key)
        if earlier.commits == _commits_digest(commits):
            adopt_features(store, earlier)
            return
        object_frames = _object_frames_per_shard(commits)
        capacities: dict[RowKind, int] = {
            "sample": stage.capacity,
            "object_frame": object_frames,
            "prompt": max(still_prompts(commit.counts) for commit in commits),
        }
        require_growable(store, dataset, split, capacities)
    reopen_split(store, dataset, split)


def _same_split(record: SplitRecord, commits: list[CommitRecord], key: str) -> SplitRecord:
    if record.commits != _commits_digest(commits):
        raise ConflictError(
            f"{key} was written for other shards than those beside it",
            fix="Find what is wrong by `samdistill verify`, or normalize into another --root.",
        )
    return record


def _commits_digest(commits: list[CommitRecord]) -> str:
    return digest_bytes(b"".join(canonical_json(commit) for commit in commits))


def _put_ids(store: ObjectStore, normalizer: Normalizer) -> Iterator[FileRecord]:
    """Store what a part of a split consists of, for others to take the same part."""
    if isinstance(normalizer, Subset):
        body = normalizer.keys_file
        key = layout.ids_key(normalizer.dataset, normalizer.split)
        record = FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body))
        put_identical(store, record, body)
        yield record


def _split_record(
    stage: NormalizeStage,
    commits: list[CommitRecord],
    phrases: int,
    files: tuple[FileRecord, ...],
) -> SplitRecord:
    normalizer = stage.normalizer
    return SplitRecord(
        dataset=normalizer.dataset,
        split=normalizer.split,
        media=normalizer.media,
        shards=len(commits),
        rows=sum(commit.rows for commit in commits),
        rows_per_shard=stage.capacity,
        object_frames_per_shard=_object_frames_per_shard(commits),
        phrases=phrases,
        counts=_sums([*(commit.counts for commit in commits), dict(normalizer.dropped())]),
        quarantined=_sums(commit.quarantined for commit in commits),
        licence=normalizer.licence,
        normalizer=normalizer.version,
        sources=dict(normalizer.sources()),
        commits=_commits_digest(commits),
        files=files,
        subset=normalizer.identity if isinstance(normalizer, Subset) else None,
    )


def _object_frames_per_shard(commits: list[CommitRecord]) -> int:
    return max(commit.counts.get("object_frames", 0) for commit in commits)


def _sums(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _check_budget(store: ObjectStore, commits: list[CommitRecord], budget: Budget) -> None:
    reasons = _sums(commit.quarantined for commit in commits)
    rows, count = sum(commit.rows for commit in commits), sum(reasons.values())
    if count > budget.allowed(rows):
        listed = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
        name = f"{commits[0].dataset}/{commits[0].split}"
        raise BudgetError(
            f"{count} of {rows} rows of {name} are quarantined ({listed}), for example "
            + "; ".join(_quarantined(store, commits)),
            expected=f"{budget.allowed(rows)} at most",
            fix="The shards are kept; the column quarantine of their samples tables says why. "
            "Repair the source and begin anew, or run this again with a larger --max-quarantined.",
        )


def _quarantined(store: ObjectStore, commits: list[CommitRecord]) -> list[str]:
    """Return keys and reasons of the first quarantined rows."""
    found: list[str] = []
    for commit in commits:
        if commit.quarantined and len(found) < _EXAMPLES:
            key = layout.samples_key(commit.dataset, commit.split, commit.shard)
            table = read_table(store, key, SAMPLES).select(["key", "quarantine"])
            rows = (row for row in table.to_pylist() if row["quarantine"] is not None)
            found += [f"{row['key']} {row['quarantine']}" for row in rows]
    return found[:_EXAMPLES]
