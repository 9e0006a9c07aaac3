from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import msgspec
import pytest

from pipelines.engine.work import WorkUnit
from pipelines.store import layout, leases, run_log
from pipelines.store.leases import LiveRuns, StoreLeases
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import ObjectStore
from pipelines.store.run_log import RunLog, is_alive, process_name, read_runs
from pipelines.store.s3 import S3ObjectStore
from schemas.ids import canonical_json
from schemas.runs import RunRecord, StageProgress
from tests.chaos.s3_server import CREDENTIALS, UTCNOW, s3_server
from tests.engine.stages import make_units

pytestmark = pytest.mark.filterwarnings(UTCNOW)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(params=["local", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ObjectStore:
    if request.param == "local":
        return LocalObjectStore(tmp_path)
    address = request.getfixturevalue("endpoint")
    for name, value in {"AWS_ENDPOINT_URL": address, **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="bucket")
    return S3ObjectStore(f"s3://bucket/{request.node.name}")


@dataclass
class Time:
    now: float = 1e9

    def __call__(self) -> float:
        return self.now


def units_of(store: ObjectStore) -> list[str]:
    return list(store.keys(layout.LEASES))


def leases_of(
    store: ObjectStore, run: str, alive: set[str], clock: Time | None = None
) -> StoreLeases:
    return StoreLeases(store, ["a", "b"], run, alive=alive.__contains__, clock=clock or Time())


def test_one_driver_has_a_unit_at_a_time(store: ObjectStore) -> None:
    alive, clock = {"one", "two"}, Time()
    first, second = leases_of(store, "one", alive), leases_of(store, "two", alive, clock)
    unit, other = make_units(2)
    assert first.acquire(unit)
    assert not second.acquire(unit)
    assert second.acquire(other)
    first.release(unit)
    # It does not ask the root again at once.
    assert not second.acquire(unit)
    clock.now += 60
    assert second.acquire(unit)


def test_other_arrays_are_other_work(store: ObjectStore) -> None:
    alive = {"one", "two"}
    unit = make_units(1)[0]
    assert leases_of(store, "one", alive).acquire(unit)
    assert StoreLeases(store, ["c"], "two", alive=alive.__contains__).acquire(unit)


def test_the_lease_of_a_dead_run_is_taken_over(store: ObjectStore) -> None:
    alive, clock = {"one", "two"}, Time()
    unit = make_units(1)[0]
    first, second = leases_of(store, "one", alive), leases_of(store, "two", alive, clock)
    assert first.acquire(unit)
    assert not second.acquire(unit)
    alive.remove("one")
    clock.now += 60
    assert second.acquire(unit)
    # The dead one was only slow, and comes back: the new lease may go, the work is done twice.
    first.release(unit)


def test_what_dead_runs_left_is_swept_at_the_start(store: ObjectStore) -> None:
    units = make_units(3)
    with leases_of(store, "dead", set()) as left:
        assert all(left.acquire(unit) for unit in units[:2])
        left._held.clear()
    alive = leases_of(store, "one", {"one", "two"})
    assert alive.acquire(units[2])
    assert len(units_of(store)) == 3
    with leases_of(store, "two", {"one", "two"}) as mine:
        assert len(units_of(store)) == 1
        assert mine.acquire(units[0])
    assert len(units_of(store)) == 1


def test_a_run_beats_into_the_root_and_leaves_its_end(store: ObjectStore) -> None:
    progress = StageProgress(title="x image", arrays=("a",), units=9)
    with RunLog(store, 3, beat=0.02) as log:
        log.note(progress)
        begun = time.monotonic()
        while (found := read_runs(store)[0]).stages != (progress,):
            assert time.monotonic() < begun + 30
        assert (found.run, found.workers, found.ended) == (log.run, 3, False)
        assert is_alive(found, time.time())
        assert LiveRuns(store)(log.run)
        log.note(msgspec.structs.replace(progress, done=9))
    (found,) = read_runs(store)
    assert found.ended
    assert found.stages[0].done == 9
    assert not is_alive(found, time.time())
    assert not LiveRuns(store)(log.run)
    assert len(list(store.keys(layout.RUNS))) == 1


def test_records_are_read_while_they_change(store: ObjectStore) -> None:
    with RunLog(store, 1, beat=1000) as log:
        for _ in range(10):
            keys = list(store.keys(layout.RUNS))
            log.write()
            folder = keys[0].rpartition("/")[0]
            assert run_log._read_last(store, folder, keys[0]) is not None


def test_old_records_go(store: ObjectStore) -> None:
    clock = Time()
    with RunLog(store, 1, clock=clock):
        pass
    clock.now += run_log.KEEP_SECONDS - 1
    with RunLog(store, 1, clock=clock):
        pass
    assert len(read_runs(store)) == 2
    clock.now += 2
    with RunLog(store, 1, clock=clock):
        assert len(read_runs(store)) == 2


def make_record(**fields: object) -> RunRecord:
    process = process_name(os.getpid())
    assert process is not None
    record = RunRecord(
        run="r", host=socket.gethostname(), process=process, workers=1, begun=100.0, beat=100.0
    )
    return msgspec.structs.replace(record, **fields)


def test_who_does_not_beat_is_dead() -> None:
    record = make_record()
    assert is_alive(record, 100 + run_log.EXPIRY_SECONDS)
    assert not is_alive(record, 101 + run_log.EXPIRY_SECONDS)


def test_a_process_of_this_host_that_is_gone_is_dead_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = process_name(process.pid)
    record = make_record(process=name)
    assert is_alive(record, 101)
    process.kill()
    process.wait()
    process.stdin.close()  # type: ignore[union-attr]
    assert not is_alive(record, 101)
    # Elsewhere nobody can look.
    assert is_alive(make_record(process=name, host="elsewhere"), 101)
    # The same number is another process later.
    boot, pid, _ = str(process_name(os.getpid())).split(":")
    assert not is_alive(make_record(process=f"{boot}:{pid}:1"), 101)


def test_live_runs_are_read_seldom(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    def counted(target: ObjectStore) -> list[RunRecord]:
        nonlocal reads
        reads += 1
        return read_runs(target)

    monkeypatch.setattr(leases, "read_runs", counted)
    store.put_if_absent(layout.run_key("r", 1), canonical_json(make_record(beat=1e9)))
    clock = Time()
    live = LiveRuns(store, clock)
    assert all(live("r") for _ in range(100))
    assert reads == 1
    clock.now += 6
    assert live("r")
    assert reads == 2


def test_a_lease_names_its_unit(store: ObjectStore) -> None:
    unit = WorkUnit(stage="image", dataset="d", split="s", shard=7)
    assert leases_of(store, "one", set()).acquire(unit)
    (key,) = units_of(store)
    assert key.endswith("/00007.json")
    assert b"image/d/s/00007" in store.get(key)
