"""Checks what is stored against a manifest, and reports every difference, not only the first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from pipelines.store.arrays import FeatureArray
from pipelines.store.commits import hash_file
from pipelines.store.findings import Check, Finding
from pipelines.store.objects import ObjectStore
from pipelines.store.published import PublishedManifest, array_record, read_part
from pipelines.store.splits import Split
from pipelines.store.verify_arrays import ArrayShardCheck, ZarrCheck
from pipelines.store.verify_splits import SplitShardCheck
from schemas.errors import SamdistillError
from schemas.manifests import FileRecord, Manifest, ManifestFeature, ManifestSplit

Listener = Callable[[int, int], None]
"""Called after each check with the number of checks done, and of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was looked at, and all that is wrong with it."""

    findings: tuple[Finding, ...]
    files: int
    bytes: int
    """What the manifest says that the files hold."""
    rows: int
    """Rows whose content was read and compared; 0 for a quick check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file: that it is there, its size, and its digest if ``deep``."""

    store: ObjectStore
    file: FileRecord
    deep: bool
    rows: int = 0

    @property
    def key(self) -> str:
        """The file."""
        return self.file.key

    def run(self) -> Iterator[Finding]:
        """Yield what differs."""
        size = self.store.size(self.key)
        if size is None:
            yield Finding(key=self.key, problem="missing", expected=f"{self.file.bytes} bytes")
        elif size != self.file.bytes:
            yield Finding(
                key=self.key, problem="size", expected=str(self.file.bytes), got=str(size)
            )
        elif self.deep and (found := hash_file(self.store, self.key)) != self.file:
            yield Finding(
                key=self.key, problem="blake3", expected=self.file.blake3, got=found.blake3
            )


def verify_manifest(
    store: ObjectStore,
    published: PublishedManifest,
    *,
    deep: bool = False,
    listener: Listener | None = None,
) -> Verification:
    """Check every file behind a manifest; never stops at a problem.

    Quick: each file exists and has its size; the files that list others have their digest.
    Deep: each file has its digest; images, rows, checksums, values and keys agree with each other;
    zarr-python reads what our reader reads.
    """
    files, checks = _Plan(store, published.manifest, deep=deep).make()
    findings: list[Finding] = []
    workers = min(16, (os.cpu_count() or 1) + 4)
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        for done, found in enumerate(pool.map(_complete, checks), start=1):
            findings += found
            if listener is not None:
                listener(done, len(checks))
    return Verification(
        findings=tuple(findings),
        files=len(files),
        bytes=sum(file.bytes for file in files.values()),
        rows=sum(check.rows for check in checks),
    )


class _Plan:
    """The files of a manifest, each once, and the checks, in a fixed order."""

    def __init__(self, store: ObjectStore, manifest: Manifest, *, deep: bool) -> None:
        self._store, self._manifest, self._deep = store, manifest, deep
        self._files: dict[str, FileRecord] = {}
        self._checks: list[Check] = []

    def make(self) -> tuple[dict[str, FileRecord], list[Check]]:
        """Return both."""
        for published in self._manifest.splits:
            self._add_split(published)
        return self._files, self._checks

    def _add_split(self, published: ManifestSplit) -> None:
        split = Split(self._store, published.split, published.split_file.blake3)
        self._add_files(
            (published.split_file, published.part.file, *published.split.files), deep=True
        )
        self._add_index(published)
        for shard, (rows, files) in self._shards(published).items():
            self._add_files(files, deep=self._deep)
            if self._deep:
                self._checks.append(SplitShardCheck(split=split, shard=shard, rows=rows))
        for feature in published.features:
            self._add_feature(published, split, feature)

    def _add_feature(
        self, published: ManifestSplit, split: Split, feature: ManifestFeature
    ) -> None:
        array = FeatureArray(self._store, array_record(self._manifest, published, feature))
        self._add_files((feature.array, feature.part.file), deep=True)
        self._add_index(feature)
        stored = []
        for shard, (rows, files) in self._shards(feature).items():
            self._add_files(files, deep=self._deep)
            has_data = array.shard_key(shard) in {file.key for file in files}
            stored += [shard] if has_data else []
            if self._deep:
                self._checks.append(
                    ArrayShardCheck(
                        array=array, split=split, shard=shard, rows=rows, has_data=has_data
                    )
                )
        if self._deep:
            self._checks.append(
                ZarrCheck(array=array, metadata_digest=feature.array.blake3, shards=tuple(stored))
            )

    def _add_index(self, product: ManifestSplit | ManifestFeature) -> None:
        if product.index is not None:
            self._add_files((product.index,), deep=True)

    def _shards(
        self, product: ManifestSplit | ManifestFeature
    ) -> dict[int, tuple[int, tuple[FileRecord, ...]]]:
        """Return rows and files by shard; nothing when the table is damaged, which is a finding."""
        try:
            table = read_part(self._store, product.part)
        except (SamdistillError, OSError):
            return {}
        shards: dict[int, tuple[int, tuple[FileRecord, ...]]] = {}
        for row in table.to_pylist():
            shard, rows = row.pop("shard"), row.pop("rows")
            shards[shard] = (rows, (*shards.get(shard, (rows, ()))[1], FileRecord(**row)))
        return shards

    def _add_files(self, files: tuple[FileRecord, ...], *, deep: bool) -> None:
        for file in files:
            if file.key not in self._files:
                self._files[file.key] = file
                self._checks.append(FileCheck(store=self._store, file=file, deep=deep))


def _complete(check: Check) -> list[Finding]:
    """Run one check to its end; an error is a finding like any other."""
    findings: list[Finding] = []
    try:
        findings.extend(check.run())
    except (SamdistillError, OSError, pa.ArrowException) as error:
        findings.append(Finding(key=check.key, problem=f"cannot be checked: {error}"))
    return findings
