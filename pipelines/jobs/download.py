"""Brings the files of a plan into the raw folder, several at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from downloaders.base import Downloader, DownloadPlan, RemoteFile
from downloaders.disk import require_space
from downloaders.fetch import ResumingFetcher
from downloaders.raw_folder import BringOptions, FileOutcome, RawFolder
from downloaders.registry import transport_name
from schemas.errors import UsageError

FileProgress = Callable[[RemoteFile, int], None]
"""Called with the bytes of a file that are on disk, from several threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadReport:
    """What became of all files, in the order of the plan."""

    outcomes: tuple[FileOutcome, ...]

    @property
    def failed(self) -> tuple[FileOutcome, ...]:
        """Those that are not there."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")


class DownloadJob:
    """Plans, then brings, the files of one data set.

    Parameters
    ----------
    raw_dir
        ``ROOT/raw`` on the local disk; files go into ``raw_dir/<dataset>/``.
    origin
        ``--from``: base URL of a mirror, or a folder on this machine; None for the publisher.
    jobs
        Files at a time.
    """

    def __init__(
        self,
        downloader: Downloader,
        raw_dir: Path,
        fetcher: ResumingFetcher,
        *,
        origin: str | None = None,
        options: BringOptions | None = None,
        jobs: int = 2,
    ) -> None:
        self._downloader, self._fetcher = downloader, fetcher
        self._options = options or BringOptions()
        self._mirror: str | None = None
        self._jobs = jobs
        if origin is not None:
            self._take_from(origin)
        self.raw = RawFolder(raw_dir / downloader.entry.name, downloader, fetcher, self._options)

    def plan(self, splits: Sequence[str]) -> DownloadPlan:
        """Return what ``run`` will bring, from the mirror when there is one."""
        plan = self._downloader.plan(splits)
        return plan if self._mirror is None else plan.at_mirror(self._mirror)

    def run(self, plan: DownloadPlan, progress: FileProgress) -> DownloadReport:
        """Bring every file; one that fails does not stop the others.

        Raises
        ------
        UsageError
            The publisher requires that the licence is accepted, and it was not.
        StorageError
            The missing bytes do not fit on the disk. Nothing was fetched.
        KeyboardInterrupt
            Unfinished files stay as parts, and the same call goes on with them.
        """
        if plan.entry.must_accept and not self._options.licence_accepted:
            raise UsageError(
                f"{plan.entry.title} may only be used under its licence: {plan.entry.licence}",
                fix="Read it, then add --accept-licence.",
            )
        if self._options.origin is None:
            require_space(self.raw.path, self.raw.missing_bytes(plan), plan.entry.title)
        try:
            outcomes = {done.name: done for done in self._in_threads(plan.files, progress)}
        except BaseException:
            self._fetcher.stop()
            raise
        return DownloadReport(outcomes=tuple(outcomes[file.name] for file in plan.files))

    def _take_from(self, origin: str) -> None:
        if "://" in origin:
            transport_name(origin)
            self._mirror = origin
            self._options = replace(self._options, ignore_folders=True)
            return
        folder = Path(origin).expanduser()
        if not folder.is_dir():
            raise UsageError(
                f"--from {origin} is no folder",
                expected="a folder with the archives or the unpacked data set, or a URL",
            )
        self._options = replace(self._options, origin=folder)

    def _in_threads(
        self, files: Sequence[RemoteFile], progress: FileProgress
    ) -> Iterator[FileOutcome]:
        """Yield outcomes as they come.

        The threads are daemons: after Ctrl-C nobody waits for one that hangs in a read, and a part
        is sound wherever it is left.
        """
        waiting: queue.SimpleQueue[RemoteFile] = queue.SimpleQueue()
        done: queue.SimpleQueue[FileOutcome | BaseException] = queue.SimpleQueue()
        for file in files:
            waiting.put(file)

        def work() -> None:
            try:
                while True:
                    file = waiting.get_nowait()
                    done.put(self.raw.bring(file, partial(progress, file)))
            except queue.Empty:
                return
            except BaseException as error:
                # What no outcome can tell belongs to the caller's thread.
                done.put(error)

        for _ in range(min(self._jobs, len(files))):
            threading.Thread(target=work, name="download", daemon=True).start()
        for _ in files:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
