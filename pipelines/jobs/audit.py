"""Recomputes stored features with the live teacher and compares: the check of last resort."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.jobs.audit_amount import Amount, spread
from pipelines.jobs.audit_shard import ShardAudit, ShardTally
from pipelines.jobs.audit_summary import AuditSummary, summarize
from pipelines.jobs.live_features import LiveFeatures
from pipelines.store.arrays import FeatureArray
from pipelines.store.findings import Finding
from pipelines.store.objects import ObjectStore
from pipelines.store.published import PublishedManifest, array_record, read_part
from pipelines.store.rows import clip_rows, expected_rows, unusable_rows
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher, TeacherOptions, options_of
from schemas.errors import UsageError
from schemas.features import TeacherSpec, differing_fields, nearest_teacher
from schemas.ids import digest_bytes
from schemas.manifests import ManifestSplit, PartRecord

Loader = Callable[[TeacherOptions], Teacher]
Listener = Callable[[int, int], None]
"""Called after each row with the number of rows computed, and of all that were drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the live teacher says about a manifest."""

    manifest: str
    """``name@version``."""
    teacher: str
    """Digest of the live teacher."""
    shards: tuple[ShardAudit, ...]
    """Each shard of an array of which rows were drawn."""
    arrays: tuple[AuditSummary, ...]
    """Each array, over its drawn shards."""
    others: tuple[str, ...]
    """Arrays of other teachers, which were not looked at."""

    @property
    def findings(self) -> list[Finding]:
        """All that is wrong."""
        return [finding for shard in self.shards for finding in shard.findings]


def audit(
    store: ObjectStore,
    published: PublishedManifest,
    load: Loader,
    amount: Amount,
    *,
    device: str = "cpu",
    listener: Listener = lambda done, total: None,
) -> Audit:
    """Compute rows of all arrays of the teacher that ``load`` gives, and compare.

    The rows are drawn for each split, anew for each kind of row (samples, phrases, object-frames,
    prompts), over all shards; the same ones for the same manifest and amount. Of a clip, the
    object-frames from its first on: tracking begins there. A row of a drawn shard that is marked
    absent is computed too, unless the split itself lacks its sample.

    Raises
    ------
    IdentityError
        The live teacher is none of the manifest's; the message names the fields that differ.
    UsageError
        The manifest has no features.
    """
    teacher = _live_teacher(published, load, device)
    runs = [
        _KindAudit(published, Split(store, split.split, split.split_file.blake3), teacher, arrays)
        for split in published.manifest.splits
        for arrays in _arrays_by_rows(store, published, split, teacher.spec.digest)
    ]
    quotas = [run.quotas(amount) for run in runs]
    total = sum(sum(quota.values()) for quota in quotas)
    done = 0
    shards: list[ShardAudit] = []
    for run, quota in zip(runs, quotas, strict=True):
        for shard, rows in quota.items():
            shards += run.compare(shard, rows)
            done += rows
            listener(done, total)
    return Audit(
        manifest=published.reference,
        teacher=teacher.spec.digest,
        arrays=tuple(_summaries(runs, shards)),
        shards=tuple(sorted(shards, key=lambda item: (item.split, item.array, item.shard))),
        others=tuple(_other_arrays(published, teacher.spec.digest)),
    )


def _live_teacher(published: PublishedManifest, load: Loader, device: str) -> Teacher:
    """Load the teacher in the way of one of the manifest's teachers, and require that it is it."""
    specs = list(published.manifest.teachers.values())
    if not specs:
        raise UsageError(f"manifest {published.reference} has no features to recompute")
    tried: list[TeacherSpec] = []
    for options in _distinct_options(specs, device):
        teacher = load(options)
        if teacher.spec.digest in published.manifest.teachers:
            return teacher
        tried.append(teacher.spec)
    stored, live = min(
        ((nearest_teacher(specs, live), live) for live in tried),
        key=lambda pair: len(differing_fields(*pair)),
    )
    stored.require_same(
        live, f"the teacher that was loaded, against manifest {published.reference},"
    )
    raise AssertionError("unreachable: another digest means another field")


def _distinct_options(specs: Sequence[TeacherSpec], device: str) -> list[TeacherOptions]:
    """Return the ways in which these teachers were run, each once, so that none is loaded twice.

    Imported features cannot be computed again; they are an error only where there are no others.
    """
    computed = [spec for spec in specs if not spec.imported]
    return list(dict.fromkeys(options_of(spec, device) for spec in computed or specs))


PublishedArray = tuple[FeatureArray, PartRecord]


def _arrays_by_rows(
    store: ObjectStore, published: PublishedManifest, split: ManifestSplit, teacher: str
) -> list[list[PublishedArray]]:
    """Return the teacher's arrays of a split; together those of the same rows and view."""
    found: dict[tuple[str, str, int], list[PublishedArray]] = defaultdict(list)
    for feature in split.features:
        if feature.teacher == teacher:
            array = FeatureArray(store, array_record(published.manifest, split, feature))
            key = (feature.feature.rows, feature.feature.view, feature.rows_per_shard)
            found[key].append((array, feature.part))
    return list(found.values())


def _other_arrays(published: PublishedManifest, teacher: str) -> Iterator[str]:
    for split in published.manifest.splits:
        for feature in split.features:
            if feature.teacher != teacher:
                place = f"{split.split.dataset}/{split.split.split}"
                yield f"{place} {feature.feature.array_name}/{feature.teacher}"


def _summaries(runs: Sequence[_KindAudit], shards: Sequence[ShardAudit]) -> list[AuditSummary]:
    """Return what is found of each array, in the order of their names."""
    found: dict[tuple[str, str], list[ShardAudit]] = defaultdict(list)
    for shard in shards:
        found[shard.split, shard.array].append(shard)
    numbers = {
        (run.split.name, array.feature.array_name): array.record.shards
        for run in runs
        for array, _ in run.arrays
    }
    return [summarize(found[place], numbers[place]) for place in sorted(found)]


@dataclass(frozen=True, slots=True)
class _KindAudit:
    """Arrays of one split whose rows and view are the same, computed together."""

    published: PublishedManifest
    split: Split
    teacher: Teacher
    arrays: Sequence[PublishedArray]

    def quotas(self, amount: Amount) -> dict[int, int]:
        """Return how many rows to compute of each shard."""
        array, part = self.arrays[0]
        table = read_part(array.store, part).select(["shard", "rows"]).to_pylist()
        sizes = {row["shard"]: row["rows"] for row in table}
        wanted = amount.of(sum(sizes.values()), sum(size > 0 for size in sizes.values()))
        return dict(sorted(spread(wanted, sizes, self._generator("shards")).items()))

    def compare(self, shard: int, count: int) -> list[ShardAudit]:
        """Compare up to ``count`` rows of a shard, and all that may be missing."""
        record = self.arrays[0][0].record
        names = expected_rows(self.split, record, shard)
        unusable = unusable_rows(self.split, record, shard)
        tallies = [ShardTally(array, shard, names, unusable) for array, _ in self.arrays]
        rows = set(self._draw(shard, count, unusable)).union(*(tally.suspects for tally in tallies))
        live = LiveFeatures(
            teacher=self.teacher,
            split=self.split,
            shard=shard,
            kind=record.feature.rows,
            wanted=tuple(dict.fromkeys(array.feature.name for array, _ in self.arrays)),
            rows_per_shard=record.rows_per_shard,
            view=record.feature.view,
        )
        for row in live.compute(sorted(rows)):
            for tally in tallies:
                tally.add(row)
        return [tally.result() for tally in tallies]

    def _draw(self, shard: int, count: int, unusable: Sequence[str | None]) -> list[int]:
        generator = self._generator(str(shard))
        usable = [row for row, reason in enumerate(unusable) if reason is None]
        if self.arrays[0][0].feature.rows != "object_frame":
            drawn: list[int] = generator.permutation(usable)[:count].tolist()
            return drawn
        clips = clip_rows(self.split, shard)
        order = [row for place in generator.permutation(len(clips)) for row in clips[place].in_time]
        return [row for row in order if unusable[row] is None][:count]

    def _generator(self, what: str) -> np.random.Generator:
        array, _ = self.arrays[0]
        seed = f"{self.published.digest}/{self.split.name}/{array.feature.rows}/{what}"
        return np.random.default_rng(int(digest_bytes(seed.encode())[:16], 16))
