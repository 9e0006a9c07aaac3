"""Brings the files of a plan into the raw folder, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from downloaders.base import DownloadContext, Downloader, DownloadPlan, RemoteFile
from downloaders.disk import require_space
from downloaders.fetch import ResumingFetcher
from downloaders.found_files import remember_files
from downloaders.links import dead_links, is_dead
from downloaders.raw_folder import BringOptions, FileOutcome, RawFolder
from downloaders.registry import find_dataset, transport_name
from pipelines.jobs.download_threads import FileProgress, bring_in_threads
from pipelines.jobs.download_units import Cluster, DownloadStage, bring_by_units, new_marker
from pipelines.jobs.fresh_links import wait_for_links
from pipelines.jobs.link_watch import LinkWatch, Warn
from schemas.errors import UsageError

_JOBS = 2
_SMALL_JOBS = 64
# Most of these wait for the disk together; how many connect is bounded by the fetcher.
_SMALL_BYTES = 16 << 20


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
    links
        ``--links``: the list that the user got from the publisher.
    wait_for_links
        Whether ``run`` pauses when links have ended, until the list is replaced by a fresh one.
    jobs
        Files at a time, of each worker; None for a number that suits the sizes of the files.
    cluster
        The processes that fetch; None for threads of this one.
    warn
        Called with a line for people, from any thread.
    """

    def __init__(
        self,
        downloader: Downloader,
        raw_dir: Path,
        fetcher: ResumingFetcher,
        *,
        origin: str | None = None,
        links: Path | None = None,
        wait_for_links: bool = False,
        options: BringOptions | None = None,
        jobs: int | None = None,
        cluster: Cluster | None = None,
        warn: Warn = lambda _line: None,
    ) -> None:
        self._downloader, self._fetcher = downloader, fetcher
        self._options = options or BringOptions()
        self._mirror: str | None = None
        self._jobs, self._links, self._warn = jobs, links, warn
        self._cluster = cluster
        self._waits = wait_for_links
        if origin is not None:
            self._take_from(origin)
        self.raw = self._raw_folder(raw_dir, downloader)

    def plan(self, splits: Sequence[str]) -> DownloadPlan:
        """Return what ``run`` will bring, from the mirror when there is one."""
        online = self._options.origin is None and self._mirror is None
        context = DownloadContext(folder=self.raw.path, links=self._links, online=online)
        plan = self._downloader.plan(splits, context)
        return plan if self._mirror is None else plan.at_mirror(self._mirror)

    def run(self, plan: DownloadPlan, progress: FileProgress) -> DownloadReport:
        """Bring every file; one that fails does not stop the others.

        Raises
        ------
        UsageError
            The publisher requires that the licence is accepted, and it was not; or it hands out
            links one by one, and none that lives is given.
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
            require_space(self.raw.path, self._missing_bytes(plan), plan.entry.title)
        outcomes = self._refuse_links(plan)
        if plan.found:
            remember_files(self.raw.path, plan)
        live = replace(plan, files=tuple(file for file in plan.files if file.name not in outcomes))
        try:
            self._bring(live, progress, outcomes)
            self._bring_late(plan, progress, outcomes)
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

    def _refuse_links(self, plan: DownloadPlan) -> dict[str, FileOutcome]:
        """Return a failure for each missing file whose link is dead.

        Raises
        ------
        UsageError
            No missing file has a link that lives.
        """
        if self._options.origin is not None:
            return {}
        missing = [file for file in plan.files if not self._has(file)]
        unlinked = [file for file in missing if not file.urls]
        if unlinked:
            raise UsageError(
                f"{plan.entry.title} has no open links, and {len(unlinked)} files are missing, "
                f"first {unlinked[0].name}",
                fix=plan.entry.to_do,
            )
        now = datetime.now(UTC)
        dead = [file for file in missing if is_dead(file, now)]
        if not dead:
            return {}
        reason = dead_links(dead, plan.entry.homepage)
        if len(dead) == len(missing) and not self._waits:
            raise UsageError(reason)
        return {
            file.name: FileOutcome(name=file.name, status="failed", detail=reason, link_ended=True)
            for file in dead
        }

    def _has(self, file: RemoteFile) -> bool:
        folder = self.raw.path if file.dataset is None else self.raw.path.parent / file.dataset
        return (folder / file.name).exists() or (
            file.dataset is None and self.raw.stands_in(file) is not None
        )

    def _files_at_a_time(self, plan: DownloadPlan) -> int:
        largest = max((file.bytes or _SMALL_BYTES for file in plan.files), default=0)
        return self._jobs or (_JOBS if largest >= _SMALL_BYTES else _SMALL_JOBS)

    def _raw_folder(self, raw_dir: Path, downloader: Downloader) -> RawFolder:
        folder = raw_dir / downloader.entry.name
        return RawFolder(folder, downloader, self._fetcher, self._options)

    def _raw_folders(self, plan: DownloadPlan) -> dict[str | None, RawFolder]:
        """Return by ``RemoteFile.dataset`` where the plan's files lie."""
        others = {file.dataset for file in plan.files if file.dataset is not None}
        raw_dir = self.raw.path.parent
        folders: dict[str | None, RawFolder] = {None: self.raw}
        for name in others:
            folders[name] = self._raw_folder(raw_dir, find_dataset(name))
        return folders

    def _missing_bytes(self, plan: DownloadPlan) -> int:
        total = 0
        for dataset, folder in self._raw_folders(plan).items():
            files = tuple(file for file in plan.files if file.dataset == dataset)
            total += folder.missing_bytes(replace(plan, files=files))
        return total

    def _bring(
        self, plan: DownloadPlan, progress: FileProgress, outcomes: dict[str, FileOutcome]
    ) -> None:
        """Bring the files, and note what became of each."""
        watch = LinkWatch(plan.files, self._warn)

        def finished(outcome: FileOutcome) -> None:
            outcomes[outcome.name] = outcome
            watch.finished(outcome.name, outcome.bytes)

        jobs, progress = self._files_at_a_time(plan), _both(watch.saw, progress)
        if self._cluster is None:
            bring_in_threads(plan.files, self._raw_folders(plan), jobs, progress, finished)
        else:
            stage = self._stage(plan, self._cluster.workers)
            bring_by_units(stage, self._cluster.open(jobs), progress, finished)

    def _bring_late(
        self, plan: DownloadPlan, progress: FileProgress, outcomes: dict[str, FileOutcome]
    ) -> None:
        """Bring the files whose links have ended, by the fresh lists for which it waits."""
        files = {file.name: file for file in plan.files}
        while self._waits and self._links is not None:
            late = [file for name, file in files.items() if outcomes[name].link_ended]
            if not late:
                return
            fresh = wait_for_links(self._links, late, self._warn)
            files |= {file.name: file for file in fresh}
            self._bring(replace(plan, files=fresh), progress, outcomes)

    def _stage(self, plan: DownloadPlan, workers: int) -> DownloadStage:
        entry = self._downloader.entry
        return DownloadStage(
            raw_dir=self.raw.path.parent.absolute(),
            marker=new_marker(entry.name),
            downloader=self._downloader,
            files=plan.files,
            options=self._options,
            connections=self._fetcher.connections,
            workers=workers,
        )


def _both(first: FileProgress, second: FileProgress) -> FileProgress:
    def call(file: RemoteFile, done: int) -> None:
        first(file, done)
        second(file, done)

    return call
