"""Which shards of wanted arrays are there already, before the teacher itself is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.jobs.split_sizes import SplitSize
from pipelines.store import layout
from pipelines.store.arrays import find_array_record
from pipelines.store.commits import committed_shards
from pipelines.store.objects import ObjectStore
from schemas.features import FeatureSpec, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedShards:
    """What one teacher has cached of a split."""

    teacher: str | None = None
    """Its digest; None when there is nothing."""
    shards: dict[str, frozenset[int]] = field(default_factory=dict)
    """Complete ones, by array."""
    others: tuple[str, ...] = ()
    """Digests of teachers whose features look the same, and of which less is there."""

    def of(self, feature: FeatureSpec) -> frozenset[int]:
        """Return the shards of an array."""
        return self.shards.get(feature.array_name, frozenset())


def find_cached(
    store: ObjectStore, size: SplitSize, features: Sequence[FeatureSpec], precision: Precision
) -> CachedShards:
    """Return what is cached of these features, of the rows that the split has now.

    A teacher's digest needs its weights, which a plan does without: of several teachers of this
    precision whose features have these shapes, the one that has come furthest is meant.
    """
    found: dict[str, dict[str, frozenset[int]]] = {}
    for teacher in store.folders(layout.features_folder(size.dataset, size.split)):
        shards = _shards_of(store, size, features, teacher, precision)
        if any(shards.values()):
            found[teacher] = shards
    if not found:
        return CachedShards()
    first, *others = sorted(found, key=lambda name: (-sum(map(len, found[name].values())), name))
    return CachedShards(teacher=first, shards=found[first], others=tuple(others))


def _shards_of(
    store: ObjectStore,
    size: SplitSize,
    features: Sequence[FeatureSpec],
    teacher: str,
    precision: Precision,
) -> dict[str, frozenset[int]]:
    split, shards = size.split_record, {}
    for feature in features:
        folder = layout.array_folder(size.dataset, size.split, teacher, feature.array_name)
        record = find_array_record(store, folder)
        if split is None or record is None or record.teacher.imported:
            continue
        follows = record.feature == feature and record.split_digest == split.digest
        if follows and record.teacher.precision == precision:
            shards[feature.array_name] = frozenset(committed_shards(store, folder))
    return shards
