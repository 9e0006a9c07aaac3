"""Published manifests: finding and opening them. Publishing is ``pipelines.jobs.publish``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from schemas.errors import IncompleteError, IntegrityError, UsageError
from schemas.ids import digest_bytes, nearest_name, parse_json
from schemas.manifests import (
    ArrayRecord,
    FileRecord,
    Manifest,
    ManifestFeature,
    ManifestSplit,
    PartRecord,
)

LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedManifest:
    """One version of a manifest, as it is stored."""

    key: str
    version: int
    digest: str
    """blake3 of the stored JSON."""
    manifest: Manifest

    @property
    def reference(self) -> str:
        """``name@version``, which opens this very manifest."""
        return f"{self.manifest.name}@{self.version}"


def manifest_names(store: ObjectStore) -> list[str]:
    """Return the names of all manifests of a root."""
    return [name for name in store.folders(layout.MANIFESTS) if manifest_versions(store, name)]


def manifest_versions(store: ObjectStore, name: str) -> list[int]:
    """Return the published versions of a manifest, ascending."""
    stems = [
        key.rpartition("/")[2].removesuffix(".json")
        for key in store.keys(layout.manifest_folder(name))
        if key.count("/") == 2
    ]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def list_manifests(store: ObjectStore, name: str | None = None) -> list[PublishedManifest]:
    """Return all versions of all manifests, or of one, by name and version.

    Raises
    ------
    UnknownNameError
        No manifest of that name.
    IncompleteError
        Nothing is published in this root.
    """
    names = _require_names(store, name or "NAME")
    if name is not None:
        names = [_require_known(name, names)]
    return [
        read_version(store, known, version)
        for known in names
        for version in manifest_versions(store, known)
    ]


def find_manifest(store: ObjectStore, reference: str) -> PublishedManifest:
    """Open ``name@version``; the latest version for ``name`` and ``name@latest``.

    Raises
    ------
    UnknownNameError
        No manifest of that name; the nearest ones are listed.
    IncompleteError
        Nothing is published in this root.
    """
    name, _, version = reference.partition("@")
    _require_known(name, _require_names(store, name))
    return read_version(store, name, _number(store, name, version or LATEST))


def read_version(store: ObjectStore, name: str, number: int) -> PublishedManifest:
    """Open one version of a manifest, which must be there."""
    key = layout.manifest_key(name, number)
    body = store.get(key)
    return PublishedManifest(
        key=key,
        version=number,
        digest=digest_bytes(body),
        manifest=parse_json(body, Manifest, key),
    )


def _require_names(store: ObjectStore, name: str) -> list[str]:
    names = manifest_names(store)
    if not names:
        raise IncompleteError(
            f"{store.url} has no manifest", fix=f"Run `samdistill publish {name}` first."
        )
    return names


def _require_known(name: str, names: list[str]) -> str:
    if name not in names:
        raise nearest_name("manifest", name, names)
    return name


def _number(store: ObjectStore, name: str, version: str) -> int:
    versions = manifest_versions(store, name)
    if version == LATEST:
        return versions[-1]
    if not version.isdecimal():
        raise UsageError(
            f"manifest {name}@{version}", expected=f"{name}, {name}@{LATEST} or {name}@number"
        )
    if int(version) not in versions:
        raise UsageError(
            f"manifest {name} has no version {version}",
            expected=f"one of {', '.join(map(str, versions))}",
        )
    return int(version)


def open_manifest(store: ObjectStore, reference: str) -> tuple[Manifest, str]:
    """Return the manifest and its digest; see ``find_manifest``."""
    found = find_manifest(store, reference)
    return found.manifest, found.digest


def named_records(value: object) -> Iterator[FileRecord | PartRecord]:
    """Yield all files and parts that a record names itself, in the order of its fields.

    A part's own file is not among the files: it counts once the files that it lists are there.
    """
    if isinstance(value, FileRecord | PartRecord):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from named_records(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from named_records(item)


def read_part(store: ObjectStore, part: PartRecord) -> pa.Table:
    """Return the table of a product's files: columns ``SHARD_FILES``.

    Raises
    ------
    IncompleteError
        The root does not have the table.
    IntegrityError
        The table is not the one that the manifest names.
    """
    try:
        body = store.get(part.file.key)
    except FileNotFoundError as cause:
        raise IncompleteError(
            f"{part.file.key} is published but missing in {store.url}", fix="Copy the root whole."
        ) from cause
    if digest_bytes(body) != part.file.blake3:
        raise IntegrityError(
            f"{part.file.key} has changed since it was published",
            expected=f"blake3 {part.file.blake3[:16]}",
            got=f"blake3 {digest_bytes(body)[:16]}",
            fix="Restore the file, or publish under another name.",
        )
    return pq.read_table(pa.BufferReader(body))


def array_record(manifest: Manifest, split: ManifestSplit, feature: ManifestFeature) -> ArrayRecord:
    """Return the identity of a published array; its zarr.json says the same."""
    return ArrayRecord(
        dataset=split.split.dataset,
        split=split.split.split,
        split_digest=split.split_file.blake3,
        feature=feature.feature,
        teacher=manifest.teachers[feature.teacher],
        shards=feature.part.shards,
        rows_per_shard=feature.rows_per_shard,
    )
