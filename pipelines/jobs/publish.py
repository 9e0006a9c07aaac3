"""Publishing: one immutable manifest that names every byte a trainer may read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from pipelines.jobs.publish_indexes import PublishedIndexes
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, find_array_record, zarr_metadata
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.products import StoredCommit, read_product
from pipelines.store.published import PublishedManifest, manifest_versions
from pipelines.store.splits import Split
from pipelines.store.tables import encode_table, table_record
from schemas.errors import IdentityError, IncompleteError, IntegrityError, UsageError
from schemas.features import (
    differing_fields,
    find_view,
    get_feature,
    join_array_name,
    split_array_name,
)
from schemas.ids import canonical_json, digest_bytes, nearest_name
from schemas.manifests import (
    ArrayRecord,
    FileRecord,
    Manifest,
    ManifestFeature,
    ManifestSplit,
    PartRecord,
)
from schemas.tables import SHARD_FILES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One split to publish, and which of its features."""

    dataset: str
    split: str
    features: tuple[str, ...] = ()
    """Names of arrays; empty for all that are there."""
    teachers: tuple[str, ...] = ()
    """Digests; empty when there is only one."""


def publish(
    store: ObjectStore,
    name: str,
    selections: Sequence[Selection],
    *,
    weights: Mapping[str, int] | None = None,
) -> PublishedManifest:
    """Write the next version of a manifest, or return the latest when nothing has changed.

    Parameters
    ----------
    weights
        By ``dataset/split``: how often it comes in each round of a mixture; none for no mixture.

    Raises
    ------
    IncompleteError
        A split or an array is not complete; the message names the command that goes on.
    IdentityError
        An array was made from another normalization of its split.
    UsageError
        A split has arrays of several teachers, and none was chosen; or a chosen one has none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"manifest name {name!r}", expected="letters, digits, '.', '_' and '-'")
    chosen = sorted(set(selections), key=lambda item: (item.dataset, item.split))
    places = [(item.dataset, item.split) for item in chosen]
    if not places or len(set(places)) < len(places):
        raise UsageError(f"splits of manifest {name}", expected="at least one, each once")
    _require_teachers(store, chosen)
    teachers = {}
    splits = []
    indexes = PublishedIndexes(store, name)
    for selection in chosen:
        split, arrays = _publish_split(store, name, selection, indexes)
        splits.append(split)
        teachers.update({record.teacher.digest: record.teacher for record in arrays})
    manifest = Manifest(
        name=name,
        teachers=teachers,
        splits=tuple(splits),
        weights=_checked_weights(weights or {}, splits),
    )
    return _put_manifest(store, manifest)


def normalized_splits(store: ObjectStore) -> list[tuple[str, str]]:
    """Return dataset and split of each split of a root that is normalized to the end."""
    return [
        (dataset, split)
        for dataset in store.folders(layout.NORMALIZED)
        for split in store.folders(f"{layout.NORMALIZED}/{dataset}")
        if store.size(layout.split_key(dataset, split)) is not None
    ]


def select(
    store: ObjectStore,
    places: Sequence[str],
    *,
    features: Sequence[str] = (),
    teachers: Sequence[str] = (),
) -> list[Selection]:
    """Return the selections for ``dataset`` or ``dataset/split`` names; all splits for none.

    Raises
    ------
    UnknownNameError
        A name that matches no normalized split.
    """
    present = [f"{dataset}/{split}" for dataset, split in normalized_splits(store)]
    if not present:
        raise IncompleteError(
            f"{store.url} has no normalized split", fix="Run `samdistill normalize` first."
        )
    chosen: dict[str, None] = {}
    for place in places or present:
        matching = [name for name in present if place in {name, name.partition("/")[0]}]
        if not matching:
            raise nearest_name("split", place, present)
        chosen.update(dict.fromkeys(matching))
    return [
        Selection(dataset=dataset, split=split, features=tuple(features), teachers=tuple(teachers))
        for dataset, _, split in (name.partition("/") for name in chosen)
    ]


def _require_teachers(store: ObjectStore, chosen: Sequence[Selection]) -> None:
    """Refuse a digest that no split has: it would otherwise be left out in silence."""
    wanted = {digest for selection in chosen for digest in selection.teachers}
    if not wanted:
        return
    splits = [Split.open(store, selection.dataset, selection.split) for selection in chosen]
    present = {record.teacher.digest: record for split in splits for record in _find_arrays(split)}
    unknown = sorted(wanted - present.keys())
    if unknown:
        raise UsageError(
            f"{', '.join(split.name for split in splits)}: no features of teacher "
            + ", ".join(unknown),
            expected=_listed(present) or "a cached teacher; there is none",
            fix="Choose by --teacher DIGEST.",
        )


def _checked_weights(weights: Mapping[str, int], splits: Sequence[ManifestSplit]) -> dict[str, int]:
    """Refuse weights that name no split, leave one out, or are not positive."""
    if not weights:
        return {}
    names = [f"{item.split.dataset}/{item.split.split}" for item in splits if item.split.rows]
    for name in weights:
        if name not in names:
            raise nearest_name("split of the mixture", name, names)
    missing = [name for name in names if name not in weights]
    if missing or min(weights.values()) < 1:
        raise UsageError(
            "weights of a mixture",
            expected="a whole number of at least 1 for each of its splits",
            got=f"none for {', '.join(missing)}" if missing else dict(weights),
        )
    return dict(weights)


def _publish_split(
    store: ObjectStore, name: str, selection: Selection, indexes: PublishedIndexes
) -> tuple[ManifestSplit, list[ArrayRecord]]:
    split = Split.open(store, selection.dataset, selection.split)
    commits = read_product(
        store,
        layout.split_folder(selection.dataset, selection.split),
        split.record.shards,
        fix=f"Run `samdistill normalize {selection.dataset} --split {selection.split}` again.",
    )
    if digest_bytes(b"".join(canonical_json(commit.record) for commit in commits)) != (
        split.record.commits
    ):
        raise IdentityError(
            f"{split.file.key} was written for other shards than those that are there",
            fix="Restore the commit records, or remove the split and normalize it anew.",
        )
    arrays = _choose_arrays(split, selection)
    features = [_publish_array(split, name, record, commits, indexes) for record in arrays]
    part = _put_part(store, name, commits)
    published = ManifestSplit(
        split=split.record,
        split_file=split.file,
        part=part,
        features=tuple(features),
        index=indexes.of_split(split.record, part, commits),
    )
    return published, arrays


def _choose_arrays(split: Split, selection: Selection) -> list[ArrayRecord]:
    """Return the arrays to publish, by name and teacher."""
    found = {
        (record.feature.array_name, record.teacher.digest): record for record in _find_arrays(split)
    }
    wanted = _wanted_features(split, selection)
    if selection.features:
        found = {place: record for place, record in found.items() if place[0] in wanted}
    teachers = {record.teacher.digest: record for record in found.values()}
    if teachers:
        chosen = _choose_teachers(split, selection, teachers)
        found = {place: record for place, record in found.items() if place[1] in chosen}
        teachers = {digest: teachers[digest] for digest in chosen}
    for feature in wanted:
        for teacher in teachers or ("any teacher",):
            if (feature, teacher) not in found:
                raise IncompleteError(
                    f"{split.name} has no {feature} of {teacher}",
                    fix=_cache_command(split, feature),
                )
    return [found[place] for place in sorted(found)]


def _find_arrays(split: Split) -> Iterator[ArrayRecord]:
    top = layout.features_folder(split.record.dataset, split.record.split)
    folders = (
        f"{top}/{teacher}/{array}"
        for teacher in split.store.folders(top)
        for array in split.store.folders(f"{top}/{teacher}")
    )
    for folder in folders:
        record = find_array_record(split.store, folder)
        if record is None:
            continue
        if folder != _array_folder(record):
            raise IdentityError(
                f"{layout.array_metadata_key(folder)} lies in the folder of another array",
                expected=_array_folder(record),
                got=folder,
                fix="Restore the folder's name, or remove it and cache anew.",
            )
        yield record


def _wanted_features(split: Split, selection: Selection) -> list[str]:
    """Return the named features that this split can have: no text without phrases, and so on."""
    rows = {
        "sample": split.record.rows,
        "phrase": split.record.phrases,
        "object_frame": split.record.object_frames_per_shard,
        "prompt": split.record.prompts,
    }
    kinds = {name: get_feature(split_array_name(name)[0]).rows for name in selection.features}
    return sorted(name for name, kind in kinds.items() if rows[kind])


def _choose_teachers(
    split: Split, selection: Selection, present: dict[str, ArrayRecord]
) -> list[str]:
    if not selection.teachers and len(present) == 1:
        return list(present)
    chosen = sorted(set(selection.teachers) & present.keys())
    if chosen:
        return chosen
    raise UsageError(
        f"{split.name} has features of {_listed(present)}",
        expected=" or ".join(selection.teachers) or "one teacher, or a choice",
        fix="Choose by --teacher DIGEST; give it once for each teacher that you want.",
    )


def _listed(present: dict[str, ArrayRecord]) -> str:
    specs = sorted((digest, record.teacher) for digest, record in present.items())
    return ", ".join(
        f"{digest} ({spec.architecture}, weights {spec.weights[:12]})" for digest, spec in specs
    )


def _publish_array(
    split: Split,
    name: str,
    record: ArrayRecord,
    normalized: Sequence[StoredCommit],
    indexes: PublishedIndexes,
) -> ManifestFeature:
    folder = _array_folder(record)
    if record.split_digest != split.digest:
        raise IdentityError(
            f"{folder} was made from another normalization of {split.name}",
            expected=f"split {split.digest[:16]}",
            got=f"split {record.split_digest[:16]}",
            fix="Remove that folder and cache again.",
        )
    commits = read_product(
        split.store, folder, record.shards, fix=_cache_command(split, record.feature.array_name)
    )
    for shard, commit in enumerate(commits):
        _check_commit(commit, record, shard, _sources(split, record, normalized, shard))
    part = _put_part(split.store, name, commits)
    return ManifestFeature(
        feature=record.feature,
        teacher=record.teacher.digest,
        array=_metadata_file(split.store, record),
        rows_per_shard=record.rows_per_shard,
        part=part,
        index=indexes.of_array(FeatureArray(split.store, record), part, commits),
    )


def _sources(
    split: Split, record: ArrayRecord, normalized: Sequence[StoredCommit], shard: int
) -> set[FileRecord]:
    """Return the files that a shard of the array may have been computed from."""
    if record.feature.rows == "phrase":
        return set(split.record.files)
    return set(normalized[shard].record.files)


def _check_commit(
    stored: StoredCommit, record: ArrayRecord, shard: int, sources: set[FileRecord]
) -> None:
    """Refuse a shard of another array, or one that was computed from other files."""
    commit = stored.record
    wanted = msgspec.structs.replace(
        commit,
        product=record.feature.array_name,
        dataset=record.dataset,
        split=record.split,
        shard=shard,
        identity=record.teacher.digest,
    )
    if wanted != commit:
        changed = differing_fields(wanted, commit)
        raise IdentityError(
            f"{stored.file.key} is of another array, wanted != stored: {'; '.join(changed)}",
            fix="Restore the file, or remove the array's folder and cache again.",
        )
    foreign = [file.key for file in commit.inputs if file not in sources]
    if foreign or not commit.inputs:
        raise IdentityError(
            f"{stored.file.key} was not computed from the files of this split",
            expected=", ".join(sorted(file.key for file in sources)),
            got=f"other content of {', '.join(foreign)}" if foreign else "no inputs",
            fix="Remove the array's folder and cache again.",
        )


def _metadata_file(store: ObjectStore, record: ArrayRecord) -> FileRecord:
    key = layout.array_metadata_key(_array_folder(record))
    body = store.get(key)
    if body != canonical_json(zarr_metadata(record)):
        raise IntegrityError(
            f"{key} was changed after the array was created",
            expected="the metadata that its own attribute describes",
            fix="Restore it, or remove the array's folder and cache again.",
        )
    return FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body))


def _put_part(store: ObjectStore, name: str, commits: Iterable[StoredCommit]) -> PartRecord:
    """Store the table of a product's files and return its record."""
    rows = [
        {
            "shard": commit.record.shard,
            "rows": commit.record.rows,
            "key": file.key,
            "bytes": file.bytes,
            "blake3": file.blake3,
        }
        for commit in commits
        for file in commit.files
    ]
    body = encode_table(rows, SHARD_FILES)
    file = table_record(layout.part_key(name, digest_bytes(body)), body)
    put_identical(store, file, body)
    return PartRecord(
        file=file,
        shards=len({commit.record.shard for commit in commits}),
        rows=sum(commit.record.rows for commit in commits),
        data_bytes=sum(file.bytes for commit in commits for file in commit.files),
    )


def _put_manifest(store: ObjectStore, manifest: Manifest) -> PublishedManifest:
    """Store a manifest under the next free number; two publishers at once get two numbers."""
    body = canonical_json(manifest)
    while True:
        versions = manifest_versions(store, manifest.name)
        latest = versions[-1] if versions else 0
        key = layout.manifest_key(manifest.name, latest)
        if not versions or store.get(key) != body:
            latest += 1
            key = layout.manifest_key(manifest.name, latest)
            if not store.put_if_absent(key, body):
                continue
        return PublishedManifest(
            key=key, version=latest, digest=digest_bytes(body), manifest=manifest
        )


def _array_folder(record: ArrayRecord) -> str:
    return layout.array_folder(
        record.dataset, record.split, record.teacher.digest, record.feature.array_name
    )


def _cache_command(split: Split, array: str) -> str:
    name, view, codec = split_array_name(array)
    feature = join_array_name(name, "identity", codec)
    views = f" --views {find_view(view)}" if view else ""
    return (
        f"Run `samdistill cache {split.record.dataset} --split {split.record.split} --features "
        f"{feature}{views}` to the end, or name only complete features by --feature."
    )
