"""How far the features of a root are, and who works on them: from any machine, by listing alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from pipelines.store import layout
from pipelines.store.arrays import read_array_record
from pipelines.store.commits import committed_shards, read_commit
from pipelines.store.objects import ObjectStore
from pipelines.store.run_log import is_alive, read_runs
from schemas.errors import SamdistillError
from schemas.ids import parse_json
from schemas.manifests import ArrayRecord, SplitRecord
from schemas.runs import RunFailure, RunRecord

_READERS = 16


class ArrayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One feature array of one split."""

    dataset: str
    split: str
    teacher: str
    array: str
    shards: int
    done: int
    """Shards with a commit record."""
    rows: int
    rows_left: int
    """Of the shards that are left, counted as full as the average."""
    rows_per_second: float
    """Of all drivers that fill it now."""
    seconds_left: float | None
    """At that pace; None when nobody works on it."""
    quarantined: dict[str, int] | None
    """Rows by reason; None when it was not asked for."""


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One driver that runs, or ran in the last week."""

    run: str
    host: str
    state: str
    """``running``, ``ended``, or ``lost`` when it neither beats nor said that it ended."""
    workers: int
    seconds: float
    """From its start to its last beat."""
    silent_seconds: float
    """Since its last beat."""
    rows: int
    quarantined: int
    failed: int
    failures: tuple[RunFailure, ...]


class RootStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What ``samdistill status`` shows."""

    root: str
    arrays: tuple[ArrayStatus, ...]
    runs: tuple[RunStatus, ...]

    @property
    def workers(self) -> int:
        """Workers of all drivers that run."""
        return sum(run.workers for run in self.runs if run.state == "running")


def root_status(
    store: ObjectStore, *, quarantined: bool = False, clock: Callable[[], float] = time.time
) -> RootStatus:
    """Return the state of all feature arrays of a root, and of the drivers that fill them.

    Parameters
    ----------
    quarantined
        Also read every commit record, for the rows that were left out.
    """
    runs, now = read_runs(store), clock()
    pace = _pace([record for record in runs if is_alive(record, now)])
    splits: dict[tuple[str, str], SplitRecord | None] = {}
    arrays = []
    for folder in _array_folders(store):
        record = read_array_record(store, folder)
        place = (record.dataset, record.split)
        if place not in splits:
            splits[place] = _read_split(store, *place)
        arrays.append(
            _array_status(store, folder, record, splits[place], pace[folder], quarantined)
        )
    return RootStatus(
        root=store.url,
        arrays=tuple(arrays),
        runs=tuple(_run_status(record, now) for record in runs),
    )


def _array_folders(store: ObjectStore) -> Iterator[str]:
    for dataset in store.folders(layout.FEATURES):
        for split in store.folders(f"{layout.FEATURES}/{dataset}"):
            top = layout.features_folder(dataset, split)
            for teacher in store.folders(top):
                for array in store.folders(f"{top}/{teacher}"):
                    folder = layout.array_folder(dataset, split, teacher, array)
                    if store.size(layout.array_metadata_key(folder)) is not None:
                        yield folder


def _read_split(store: ObjectStore, dataset: str, split: str) -> SplitRecord | None:
    """Return the split's record; None when its images were removed or are of another version."""
    key = layout.split_key(dataset, split)
    try:
        return parse_json(store.get(key), SplitRecord, key)
    except (FileNotFoundError, SamdistillError):
        return None


def _array_status(
    store: ObjectStore,
    folder: str,
    record: ArrayRecord,
    split: SplitRecord | None,
    pace: float,
    quarantined: bool,
) -> ArrayStatus:
    done = list(committed_shards(store, folder))
    rows = _rows(record, split)
    left = round(rows * (1 - len(done) / record.shards)) if record.shards else 0
    return ArrayStatus(
        dataset=record.dataset,
        split=record.split,
        teacher=record.teacher.digest,
        array=record.feature.array_name,
        shards=record.shards,
        done=len(done),
        rows=rows,
        rows_left=left,
        rows_per_second=pace,
        seconds_left=left / pace if pace else None,
        quarantined=_quarantined(store, folder, done) if quarantined else None,
    )


def _rows(record: ArrayRecord, split: SplitRecord | None) -> int:
    if split is None:
        return record.shards * record.rows_per_shard
    return {
        "sample": split.rows,
        "phrase": split.phrases,
        "object_frame": split.counts.get("object_frames", 0),
        "prompt": split.prompts,
    }[record.feature.rows]


def _quarantined(store: ObjectStore, folder: str, shards: list[int]) -> dict[str, int]:
    total: Counter[str] = Counter()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="commits") as pool:
        for commit in pool.map(lambda shard: read_commit(store, folder, shard), shards):
            total.update(commit.quarantined)
    return dict(total)


def _pace(runs: list[RunRecord]) -> Counter[str]:
    """Return rows per second by array, of the stage that each run is at."""
    pace: Counter[str] = Counter()
    for record in runs:
        for stage in record.stages[-1:]:
            for folder in stage.arrays:
                pace[folder] += stage.rows_per_second  # type: ignore[assignment]
    return pace


def _run_status(record: RunRecord, now: float) -> RunStatus:
    state = "running" if is_alive(record, now) else "ended" if record.ended else "lost"
    return RunStatus(
        run=record.run,
        host=record.host,
        state=state,
        workers=record.workers,
        seconds=record.beat - record.begun,
        silent_seconds=max(0.0, now - record.beat),
        rows=sum(stage.rows for stage in record.stages),
        quarantined=sum(stage.quarantined for stage in record.stages),
        failed=sum(stage.failed for stage in record.stages),
        failures=tuple(item for stage in record.stages for item in stage.failures),
    )
