"""The heartbeat of a driver in the root, and who else is alive.

Files are immutable, so a beat is a new file ``runs/<run>/<number>.json`` and the end of the one
before. The last one stays for a week, to tell how the run ended.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from schemas.errors import StorageError
from schemas.ids import canonical_json, parse_json
from schemas.runs import RunRecord, StageProgress

BEAT_SECONDS = 15.0
EXPIRY_SECONDS = 90.0
"""Six beats. Clocks that differ by more cost double work, nothing else."""
KEEP_SECONDS = 7 * 86400.0
_READ_ATTEMPTS = 5

Clock = Callable[[], float]


class RunLog:
    """Writes the record of this driver into the root, now and at every beat of a thread.

    A root that refuses a beat is no reason to end a run that may still be able to write shards.
    """

    def __init__(
        self,
        store: ObjectStore,
        workers: int,
        *,
        clock: Clock = time.time,
        beat: float = BEAT_SECONDS,
    ) -> None:
        now = clock()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
        self._store, self._clock = store, clock
        self._beat = beat
        self._stages: dict[str, StageProgress] = {}
        self._number = 0
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._record = RunRecord(
            run=f"{stamp}-{uuid.uuid4().hex[:8]}",
            host=socket.gethostname(),
            process=process_name(os.getpid()) or "",
            workers=workers,
            begun=now,
            beat=now,
        )

    @property
    def run(self) -> str:
        """The name of this run."""
        return self._record.run

    def __enter__(self) -> Self:
        forget_runs(self._store, self._clock() - KEEP_SECONDS)
        self.write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._try_write(ended=True)

    def note(self, progress: StageProgress) -> None:
        """Replace what is said of one stage; written with the next beat."""
        self._stages[progress.title] = progress

    def write(self, *, ended: bool = False) -> None:
        """Write the record as it is now, and remove the one before."""
        with self._lock:
            record = msgspec.structs.replace(
                self._record, beat=self._clock(), ended=ended, stages=tuple(self._stages.values())
            )
            self._number += 1
            self._store.put_if_absent(self._key(self._number), canonical_json(record))
            self._store.delete(self._key(self._number - 1))

    def _key(self, number: int) -> str:
        return layout.run_key(self.run, number)

    def _keep_beating(self) -> None:
        while not self._over.wait(self._beat):
            self._try_write()

    def _try_write(self, *, ended: bool = False) -> None:
        try:
            self.write(ended=ended)
        except (StorageError, OSError):
            return


def read_runs(store: ObjectStore) -> list[RunRecord]:
    """Return the last record of every run, oldest run first."""
    return [record for _, record in _records(store)]


def is_alive(record: RunRecord, now: float) -> bool:
    """Say whether the driver still runs, as far as its last beat and its own host can tell."""
    if record.ended or now - record.beat > EXPIRY_SECONDS:
        return False
    if record.host != socket.gethostname():
        return True
    return process_name(int(record.process.split(":")[1])) == record.process


def forget_runs(store: ObjectStore, before: float) -> None:
    """Remove the records of runs whose last beat is older."""
    for key, record in _records(store):
        if record.beat < before:
            store.delete(key)


def process_name(pid: int) -> str | None:
    """Return a name that no other process of this host ever has; None when it is gone.

    Where the system does not tell when a process began, the number alone has to do.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Fields are counted behind the command's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else f":{pid}:"
    return None if fields[0] == "Z" else f"{boot}:{pid}:{fields[19]}"


def _records(store: ObjectStore) -> list[tuple[str, RunRecord]]:
    last: dict[str, str] = {}
    for key in store.keys(layout.RUNS):
        last[key.rpartition("/")[0]] = key
    found = (_read_last(store, folder, key) for folder, key in last.items())
    return [item for item in found if item is not None]


def _read_last(store: ObjectStore, folder: str, key: str) -> tuple[str, RunRecord] | None:
    for _ in range(_READ_ATTEMPTS):
        try:
            return key, parse_json(store.get(key), RunRecord, key)
        except FileNotFoundError:
            # The run has beaten since its files were listed.
            keys = list(store.keys(folder))
            if not keys:
                return None
            key = keys[-1]
    return None
