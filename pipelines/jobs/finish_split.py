"""The last step of normalizing: the table of phrases, then split.json."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.store import layout
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import encode_table, read_table, table_record
from schemas.errors import BudgetError, ConflictError, UsageError
from schemas.ids import canonical_json, digest_bytes, parse_json
from schemas.manifests import CommitRecord, FileRecord, SplitRecord
from schemas.tables import ANNOTATIONS, PHRASES, SAMPLES

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


def finish_split(store: ObjectStore, stage: NormalizeStage, budget: Budget) -> SplitRecord:
    """Write ``phrases.parquet`` and then ``split.json``, or find them there alike.

    Raises
    ------
    BudgetError
        Too many rows are quarantined. The shards stay; split.json is not written.
    ConflictError
        A shard, or an earlier split.json, was made from another source or in another way.
    """
    commits = [stage.require_same_identity(plan.shard) for plan in stage.plans]
    dataset, split = stage.normalizer.dataset, stage.normalizer.split
    _check_budget(f"{dataset}/{split}", commits, budget)
    key = layout.split_key(dataset, split)
    if store.size(key) is not None:
        return _same_split(parse_json(store.get(key), SplitRecord, key), commits, key)
    record = _split_record(stage, commits, _put_phrases(store, stage))
    body = canonical_json(record)
    put_identical(store, FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body)), body)
    return record


def _same_split(record: SplitRecord, commits: list[CommitRecord], key: str) -> SplitRecord:
    if record.commits != _commits_digest(commits):
        raise ConflictError(
            f"{key} was written for other shards than those beside it",
            fix="Find what is wrong by `samdistill verify`, or normalize into another --root.",
        )
    return record


def _commits_digest(commits: list[CommitRecord]) -> str:
    return digest_bytes(b"".join(canonical_json(commit) for commit in commits))


def _split_record(
    stage: NormalizeStage, commits: list[CommitRecord], phrases: tuple[FileRecord, int]
) -> SplitRecord:
    normalizer = stage.normalizer
    return SplitRecord(
        dataset=normalizer.dataset,
        split=normalizer.split,
        media=normalizer.media,
        shards=len(commits),
        rows=sum(commit.rows for commit in commits),
        rows_per_shard=stage.capacity,
        object_frames_per_shard=max(commit.counts.get("object_frames", 0) for commit in commits),
        phrases=phrases[1],
        counts=_sums([*(commit.counts for commit in commits), dict(normalizer.dropped())]),
        quarantined=_sums(commit.quarantined for commit in commits),
        licence=normalizer.licence,
        normalizer=normalizer.version,
        sources=dict(normalizer.sources()),
        commits=_commits_digest(commits),
        files=(phrases[0],),
    )


def _sums(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def _put_phrases(store: ObjectStore, stage: NormalizeStage) -> tuple[FileRecord, int]:
    """Store the unique phrases of the split, sorted by code point; return the file and its rows."""
    objects: Counter[str] = Counter()
    captions: Counter[str] = Counter()
    dataset, split = stage.normalizer.dataset, stage.normalizer.split
    for plan in stage.plans:
        key = layout.annotations_key(dataset, split, plan.shard)
        objects.update(_texts(read_table(store, key, ANNOTATIONS).column("phrases").to_pylist()))
        key = layout.samples_key(dataset, split, plan.shard)
        captions.update(_texts(read_table(store, key, SAMPLES).column("captions").to_pylist()))
    rows = [
        {"row": row, "phrase": phrase, "objects": objects[phrase], "captions": captions[phrase]}
        for row, phrase in enumerate(sorted(objects.keys() | captions.keys()))
    ]
    body = encode_table(rows, PHRASES)
    record = table_record(layout.phrases_key(dataset, split), body)
    put_identical(store, record, body)
    return record, len(rows)


def _texts(cells: Iterable[list[str] | None]) -> Iterator[str]:
    for cell in cells:
        yield from cell or ()


def _check_budget(name: str, commits: list[CommitRecord], budget: Budget) -> None:
    reasons = _sums(commit.quarantined for commit in commits)
    rows, count = sum(commit.rows for commit in commits), sum(reasons.values())
    if count > budget.allowed(rows):
        listed = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
        raise BudgetError(
            f"{count} of {rows} rows of {name} are quarantined ({listed})",
            expected=f"{budget.allowed(rows)} at most",
            fix="The shards are kept; the column quarantine of their samples tables says why. "
            "Repair the source and begin anew, or run this again with a larger --max-quarantined.",
        )
