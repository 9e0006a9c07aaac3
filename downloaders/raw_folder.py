"""``raw/<dataset>/``: brings one file into it by whichever way is shortest, and records it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from downloaders.base import (
    Downloader,
    DownloadPlan,
    Fetched,
    Fetcher,
    FetchRequest,
    Progress,
    RemoteFile,
)
from downloaders.content import wrong_content
from downloaders.digests import digest_file
from downloaders.ledger import Ledger, LedgerEntry, utc_now
from downloaders.local import adopt_archive, find_archive, find_unpacked, nothing_found
from downloaders.part_file import discard_part, part_bytes
from downloaders.transport import LinkExpiredError
from schemas.errors import DownloadError, SamdistillError

Status = Literal["fetched", "resumed", "present", "adopted", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file of a plan."""

    name: str
    status: Status
    bytes: int = 0
    """Size on disk; 0 for a folder or a failure."""
    detail: str = ""
    """Where it came from, or the reason of a failure."""
    link_ended: bool = False
    """Whether it failed because its signed link has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BringOptions:
    """How files are brought, equal for all files of a run."""

    origin: Path | None = None
    """A folder that has the files, packed or unpacked; then nothing is downloaded."""
    any_content: bool = False
    """Accept bytes that differ from the published ones; the ledger calls them unverified."""
    verify_existing: bool = False
    """Hash files that are there already, instead of trusting their size."""
    ignore_folders: bool = False
    """Bring a file although a folder stands in for it."""
    licence_accepted: bool = False


class RawFolder:
    """The files of one data set on this machine. Threads may share one."""

    def __init__(
        self, path: Path, downloader: Downloader, fetcher: Fetcher, options: BringOptions
    ) -> None:
        self.path = path
        self._downloader, self._fetcher, self._options = downloader, fetcher, options
        self._ledger = Ledger(path)

    def missing_bytes(self, plan: DownloadPlan) -> int:
        """Return how many bytes have yet to be fetched, as far as that is published.

        With ``any_content`` nothing is: each file's size is known when its server has stated it.
        """
        if self._options.any_content:
            return 0
        return sum(
            max(0, (file.bytes or 0) - part_bytes(self.path / file.name))
            for file in plan.files
            if not (self.path / file.name).exists() and self.stands_in(file) is None
        )

    def bring(self, file: RemoteFile, progress: Progress) -> FileOutcome:
        """Return what became of ``file``. A failure is an outcome, not an exception."""
        request = FetchRequest(
            file=file, folder=self.path, any_content=self._options.any_content, progress=progress
        )
        try:
            if (self.path / file.name).exists():
                return self._present(request)
            entry = self.stands_in(file)
            if entry is not None:
                return FileOutcome(name=file.name, status="present", detail=f"folder {entry.url}")
            if self._options.origin is not None:
                return self._adopt(request, self._options.origin)
            return self._fetch(request)
        except (SamdistillError, OSError) as error:
            ended = isinstance(error, LinkExpiredError)
            return FileOutcome(name=file.name, status="failed", detail=str(error), link_ended=ended)

    def stands_in(self, file: RemoteFile) -> LedgerEntry | None:
        """Return the entry of the folder that stands in for ``file``, if it is still there."""
        if self._options.origin is not None or self._options.ignore_folders:
            return None
        entry = self._ledger.newest(file.name)
        stands_in = entry is not None and entry.kind == "folder" and Path(entry.url).is_dir()
        return entry if stands_in else None

    def _present(self, request: FetchRequest) -> FileOutcome:
        file, target = request.file, self.path / request.file.name
        discard_part(target)
        size = target.stat().st_size
        entry = self._ledger.newest(file.name)
        if entry is None or entry.kind == "folder":
            entry = self._record_found(request)
        elif entry.bytes != size or self._options.verify_existing:
            _check_again(target, entry)
        if file.checksum is not None and not entry.verified and not request.any_content:
            raise DownloadError(
                f"{target} has other bytes than published; it was accepted by --any-content",
                fix="Delete it to fetch the published file, or add --any-content to keep it.",
            )
        request.progress(size)
        return FileOutcome(name=file.name, status="present", bytes=size)

    def _record_found(self, request: FetchRequest) -> LedgerEntry:
        """Check and record a file that is there although the ledger does not know it."""
        file, target = request.file, self.path / request.file.name
        digests = digest_file(target, file.checksum)
        wrong = wrong_content(target, file, digests, request.any_content)
        if wrong is not None:
            raise _not_right(target, wrong)
        return self._record(
            file,
            Fetched(
                name=file.name,
                url=str(target.absolute()),
                bytes=target.stat().st_size,
                sha256=digests.sha256,
                verified=digests.verified,
            ),
        )

    def _adopt(self, request: FetchRequest, origin: Path) -> FileOutcome:
        file = request.file
        archive = find_archive(file, origin)
        if archive is not None:
            fetched = adopt_archive(archive, request)
            self._record(file, fetched)
            return FileOutcome(
                name=file.name, status="adopted", bytes=fetched.bytes, detail=fetched.url
            )
        folder = find_unpacked(file, origin)
        if folder is None:
            raise nothing_found(file, origin)
        place = str(folder.absolute())
        entry = self._ledger.newest(file.name)
        if entry is not None and entry.kind == "folder" and entry.url == place:
            return FileOutcome(name=file.name, status="present", detail=f"folder {place}")
        self._record(file, place)
        return FileOutcome(name=file.name, status="adopted", detail=f"folder {place}")

    def _fetch(self, request: FetchRequest) -> FileOutcome:
        fetched = self._downloader.fetch(request, self._fetcher)
        self._record(request.file, fetched)
        return FileOutcome(
            name=fetched.name,
            status="resumed" if fetched.resumed else "fetched",
            bytes=fetched.bytes,
            detail=fetched.url,
        )

    def _record(self, file: RemoteFile, what: Fetched | str) -> LedgerEntry:
        fetched = what if isinstance(what, Fetched) else None
        entry = LedgerEntry(
            name=file.name,
            kind="folder" if fetched is None else "file",
            url=what if isinstance(what, str) else what.url,
            bytes=None if fetched is None else fetched.bytes,
            sha256=None if fetched is None else fetched.sha256,
            checksum=file.checksum,
            verified=fetched is not None and fetched.verified,
            when=utc_now(),
            licence=self._downloader.entry.licence,
            licence_accepted=self._options.licence_accepted,
        )
        self._ledger.append(entry)
        return entry


def _check_again(target: Path, entry: LedgerEntry) -> None:
    """Raise unless the file still has the bytes that the ledger states."""
    found = digest_file(target, None).sha256
    if found != entry.sha256:
        raise _not_right(target, f"expected {entry.digest}; got sha256:{found}")


def _not_right(target: Path, wrong: str) -> DownloadError:
    return DownloadError(
        f"{target} is not what it should be: {wrong}",
        fix="Delete it, then run the same command again.",
    )
