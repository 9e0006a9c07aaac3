"""Brings files by units of work: one file each, on whatever machines an executor has.

All machines must see the raw folder. They write one ledger; each part is locked by its writer.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from downloaders.base import Downloader, RemoteFile
from downloaders.disk import disk_errors
from downloaders.fetch import ResumingFetcher
from downloaders.host_limits import OVERALL, PER_HOST
from downloaders.part_file import part_bytes
from downloaders.raw_folder import BringOptions, FileOutcome, RawFolder
from downloaders.registry import find_dataset
from downloaders.transport import LinkExpiredError
from pipelines.engine.work import Executor, Failure, UnitReport, WorkUnit
from pipelines.jobs.download_threads import FileProgress, Finished
from schemas.errors import DownloadError, UsageError

MAX_WORKERS = PER_HOST
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Processes that fetch, on one or more machines.

    What one host may have of connections is divided between them beforehand: each worker keeps to
    its share without asking anybody, and all together never exceed what one process may open.
    """

    workers: int
    open: Callable[[int], Executor]
    """Returns an executor of these workers, each of which runs so many units at a time."""

    def __post_init__(self) -> None:
        """Refuse more workers than a host may have connections."""
        if self.workers > MAX_WORKERS:
            raise UsageError(
                f"--workers {self.workers} would open more connections to one host than is polite",
                expected=f"at most {MAX_WORKERS}",
            )


class FileReport(UnitReport, frozen=True, kw_only=True):
    """What became of the file of a unit."""

    outcome: FileOutcome


class _Opened:
    """The connections and folders of this process; they do not travel with the stage."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetcher: ResumingFetcher | None = None
        self._folders: dict[str | None, RawFolder] = {}

    def __reduce__(self) -> tuple[type[_Opened], tuple[()]]:
        return _Opened, ()

    def folder(self, stage: DownloadStage, dataset: str | None) -> RawFolder:
        """Return the raw folder of the stage's data set, or of another whose file it needs."""
        with self._lock:
            if self._fetcher is None:
                share = max(1, PER_HOST // stage.workers)
                self._fetcher = ResumingFetcher(
                    connections=min(stage.connections, share),
                    per_host=share,
                    overall=max(1, OVERALL // stage.workers),
                )
            if dataset not in self._folders:
                downloader = stage.downloader if dataset is None else find_dataset(dataset)
                self._folders[dataset] = RawFolder(
                    stage.raw_dir / downloader.entry.name, downloader, self._fetcher, stage.options
                )
            return self._folders[dataset]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadStage:
    """Brings file number ``shard`` of a plan. Signed links travel inside it: they are not stored.

    Attributes
    ----------
    raw_dir
        ``ROOT/raw``, absolute.
    marker
        A file in the data set's folder that proves that this machine sees the driver's folder.
    """

    raw_dir: Path
    marker: str
    downloader: Downloader
    files: tuple[RemoteFile, ...]
    options: BringOptions
    connections: int
    workers: int
    opened: _Opened = field(default_factory=_Opened, repr=False, compare=False)

    @property
    def name(self) -> str:
        """See ``Stage.name``."""
        return "download"

    @property
    def units(self) -> list[WorkUnit]:
        """One for each file."""
        dataset = self.downloader.entry.name
        return [
            WorkUnit(stage=self.name, dataset=dataset, split="", shard=number)
            for number in range(len(self.files))
        ]

    def is_committed(self, unit: WorkUnit) -> bool:
        """Leave it to ``run``: what is there may have to be checked and recorded first."""
        return False

    def run(self, unit: WorkUnit) -> FileReport:
        """Bring the file; see ``Stage.run``.

        Raises
        ------
        DownloadError
            It could not be brought; ``LinkExpiredError`` if only a fresh link helps.
        UsageError
            This machine does not see the raw folder of the driver.
        """
        file = self.files[unit.shard]
        if not (self.raw_dir / self.marker).exists():
            raise UsageError(
                f"{self.raw_dir} is another folder on this machine",
                fix="Put the raw folder on a file system that all nodes share, or download "
                "without --address.",
            )
        outcome = self.opened.folder(self, file.dataset).bring(file, lambda _done: None)
        if outcome.status == "failed":
            raise (LinkExpiredError if outcome.link_ended else DownloadError)(outcome.detail)
        status: Literal["done", "skipped"] = "skipped" if outcome.status == "present" else "done"
        return FileReport(unit=unit, status=status, bytes=outcome.bytes, outcome=outcome)


def bring_by_units(
    stage: DownloadStage, executor: Executor, progress: FileProgress, finished: Finished
) -> None:
    """Run the stage over all its files, and say what became of each."""
    with _marked(stage.raw_dir / stage.marker), _watched(stage, progress):
        executor.run(stage, stage.units, _Listener(stage.files, progress, finished))


def new_marker(dataset: str) -> str:
    """Return a name, below ``raw``, that no other run has."""
    return f"{dataset}/.shared-{secrets.token_hex(8)}"


@contextlib.contextmanager
def _marked(marker: Path) -> Iterator[None]:
    with disk_errors(marker):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


class _Listener:
    """See ``pipelines.engine.work.Listener``."""

    def __init__(
        self, files: Sequence[RemoteFile], progress: FileProgress, finished: Finished
    ) -> None:
        self._files, self._progress, self._finished = files, progress, finished

    def unit_finished(self, report: UnitReport) -> None:
        if not isinstance(report, FileReport):
            raise TypeError(f"{type(report)} is no report of a file")
        self._progress(self._files[report.unit.shard], report.bytes)
        self._finished(report.outcome)

    def unit_failed(self, failure: Failure) -> None:
        name = self._files[failure.unit.shard].name
        ended = failure.error_type == LinkExpiredError.__name__
        self._finished(
            FileOutcome(name=name, status="failed", detail=failure.error, link_ended=ended)
        )


@contextlib.contextmanager
def _watched(stage: DownloadStage, progress: FileProgress) -> Iterator[None]:
    """Report how far the parts are while the block runs: the folder is here too."""
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(_LOOK_SECONDS):
            for file in stage.files:
                dataset = file.dataset or stage.downloader.entry.name
                if size := part_bytes(stage.raw_dir / dataset / file.name):
                    progress(file, size)

    watching = threading.Thread(target=watch, name="watch parts", daemon=True)
    watching.start()
    try:
        yield
    finally:
        stopped.set()
        watching.join()
