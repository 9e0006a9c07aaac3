"""Copying a manifest to another root: only what is missing there, and the manifest last.

A shard's commit record is copied after its files, and the table that lists a product after all its
shards. So each of them says of the target what it says of the source, a copy may be killed
anywhere, and its repetition trusts what is complete and compares what is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipelines.jobs.copy_files import CopyListener, copy_file, present_sizes, require_same
from pipelines.store.objects import ObjectStore
from pipelines.store.published import PublishedManifest, named_records, read_part
from schemas.errors import ConflictError, IncompleteError, IntegrityError, UsageError
from schemas.ids import digest_bytes
from schemas.manifests import FileRecord, PartRecord

_SHOWN = 5


Shard = tuple[tuple[FileRecord, bool], ...]
"""Files of a shard and whether the target has each, the commit record last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCopy:
    """The files of a product that the target lacks."""

    part: PartRecord
    table: pa.Table
    """Columns ``SHARD_FILES`` and ``present``: all files of the shards to be looked at."""
    has_table: bool
    """Whether the target has the part's own file."""
    missing_files: int
    missing_bytes: int

    def shards(self) -> Iterator[Shard]:
        """Yield the shards, ascending."""
        numbers = self.table["shard"].to_numpy()
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
        columns = self.table.select(["key", "bytes", "blake3", "present"])
        for start, stop in pairwise([*starts, len(numbers)]):
            rows = columns.slice(start, stop - start).to_pylist()
            present = [row.pop("present") for row in rows]
            yield tuple(zip((FileRecord(**row) for row in rows), present, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """What is to be done so that the target has a manifest and all that it names."""

    published: PublishedManifest
    parts: tuple[PartCopy, ...]
    files: tuple[FileRecord, ...]
    """Files that the manifest names itself and the target lacks."""
    all_files: int
    all_bytes: int
    """Of the whole manifest, present or not."""

    @property
    def missing_files(self) -> int:
        """Files to copy, the manifest itself left out."""
        return len(self.files) + sum(part.missing_files for part in self.parts)

    @property
    def missing_bytes(self) -> int:
        """Their bytes."""
        ours = sum(file.bytes for file in self.files)
        return ours + sum(part.missing_bytes for part in self.parts)


def plan_copy(source: ObjectStore, target: ObjectStore, published: PublishedManifest) -> CopyPlan:
    """Compare the target with a manifest of the source.

    Raises
    ------
    ConflictError
        The target has another file in the place of one of these.
    UsageError
        Both are one root.
    """
    if source.url == target.url:
        raise UsageError(
            f"cannot copy {published.reference} from {source.url} to itself",
            fix="Give another folder or bucket by --to.",
        )
    _require_free(target, published)
    records = list(named_records(published.manifest))
    parts = [record for record in records if isinstance(record, PartRecord)]
    # Features whose rows lie at the same places share an index.
    named = list(dict.fromkeys(record for record in records if isinstance(record, FileRecord)))
    files = tuple(file for file in named if not _is_there(target, file))
    copies = [_plan_part(source, target, part) for part in parts]
    return CopyPlan(
        published=published,
        parts=tuple(copy for copy, _ in copies),
        files=files,
        all_files=len(named) + sum(1 + count for _, count in copies),
        all_bytes=sum(file.bytes for file in named)
        + sum(part.file.bytes + part.data_bytes for part in parts),
    )


def run_copy(
    source: ObjectStore,
    target: ObjectStore,
    plan: CopyPlan,
    listener: CopyListener,
    *,
    threads: int | None = None,
) -> None:
    """Copy what is planned, each file with its digest checked, then publish the manifest.

    Raises
    ------
    IntegrityError
        Files of the source are missing or are not as they were published; all others are copied,
        the manifest is not.
    StorageError
        The target refuses; the copy stops.
    """
    workers = threads or min(16, 4 + (os.cpu_count() or 1))
    with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
        failures: list[Exception] = []
        for part in plan.parts:
            jobs = [pool.submit(_copy_shard, source, target, s, listener) for s in part.shards()]
            found = _failures(jobs)
            failures += found
            if not found and not part.has_table:
                copy_file(source, target, part.part.file, listener)
        failures += _failures(
            [pool.submit(copy_file, source, target, file, listener) for file in plan.files]
        )
    if failures:
        raise IntegrityError(
            f"{len(failures)} shards or files of {source.url} cannot be copied: "
            + "; ".join(str(failure) for failure in failures[:_SHOWN]),
            fix=f"{plan.published.reference} is not published in {target.url}. Restore these "
            "files and run the same command again: it copies only what is missing.",
        )
    body = source.get(plan.published.key)
    if not target.put_if_absent(plan.published.key, body):
        _require_free(target, plan.published)


def _require_free(target: ObjectStore, published: PublishedManifest) -> None:
    try:
        found = digest_bytes(target.get(published.key))
    except FileNotFoundError:
        return
    if found != published.digest:
        raise ConflictError(
            f"{target.url} has another manifest {published.reference}",
            expected=f"blake3 {published.digest[:16]}",
            got=f"blake3 {found[:16]}",
            fix="Publish under another name, or copy to another root.",
        )


def _is_there(target: ObjectStore, file: FileRecord) -> bool:
    if target.size(file.key) is None:
        return False
    require_same(target, file)
    return True


def _plan_part(source: ObjectStore, target: ObjectStore, part: PartRecord) -> tuple[PartCopy, int]:
    """Return what is to be copied, and how many files the product has.

    A target that has the part's table has had all its shards; without it, shards are compared.
    """
    table = read_part(source, part)
    expected = table["bytes"].to_numpy()
    sizes = np.array(present_sizes(target, table["key"].to_pylist()), dtype=np.int64)
    for row in np.flatnonzero((sizes >= 0) & (sizes != expected))[:1].tolist():
        raise ConflictError(
            f"{table['key'][row]} exists in {target.url} with another size",
            expected=f"{expected[row]} bytes",
            got=f"{sizes[row]} bytes",
            fix="Other input or another version made it: copy to another root, or remove it there.",
        )
    lacking, has_table = sizes < 0, _is_there(target, part.file)
    numbers = table["shard"].to_numpy()
    wanted = np.isin(numbers, numbers[lacking]) if has_table else np.ones(len(table), dtype=bool)
    copy = PartCopy(
        part=part,
        has_table=has_table,
        table=table.append_column("present", pa.array(~lacking)).filter(pa.array(wanted)),
        missing_files=int(lacking.sum()) + (not has_table),
        missing_bytes=int(expected[lacking].sum()) + (0 if has_table else part.file.bytes),
    )
    return copy, len(table)


def _copy_shard(
    source: ObjectStore, target: ObjectStore, shard: Shard, listener: CopyListener
) -> None:
    """Copy a shard's missing files; a commit record that is there vouches for the present ones."""
    commit, committed = shard[-1]
    if committed:
        require_same(target, commit)
    for file, present in shard:
        if not present:
            copy_file(source, target, file, listener)
        elif not committed:
            require_same(target, file)


def _failures(jobs: Sequence[Future[None]]) -> list[Exception]:
    """Wait for all; return what is wrong with the source, raise what is wrong with the target."""
    failures: list[Exception] = []
    try:
        for job in as_completed(jobs):
            error = job.exception()
            if isinstance(error, (IntegrityError, IncompleteError)):
                failures.append(error)
            elif error is not None:
                raise error
    finally:
        for job in jobs:
            job.cancel()
    return sorted(failures, key=str)
