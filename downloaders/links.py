"""Lists of signed links, which a publisher hands to one person for a limited time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from downloaders.base import (
    NO_CONTEXT,
    DatasetEntry,
    DownloadContext,
    DownloadPlan,
    Fetched,
    Fetcher,
    FetchRequest,
    RemoteFile,
)
from downloaders.expiry import link_expiry
from downloaders.found_files import remembered_files
from schemas.errors import DataError, UsageError

_NEVER = datetime.max.replace(tzinfo=UTC)
_COLUMNS = ("file_name", "cdn_link")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkListDownloader:
    """Plans from a list that the user brings by ``--links``; see ``Downloader``.

    Without a list, the plan has the files that an earlier list named, or else all of ``files``;
    none of them has a URL then.
    """

    entry: DatasetEntry
    files: tuple[RemoteFile, ...]
    """All files that the publisher is known to list, without URLs. Other rows are ignored."""

    def plan(self, splits: Sequence[str], context: DownloadContext = NO_CONTEXT) -> DownloadPlan:
        """Return the listed files of ``splits``, soonest expiry first; see ``Downloader.plan``.

        Raises
        ------
        UsageError
            The list is missing, is none, or names no file of these splits.
        """
        wanted = self.entry.check_splits(splits)
        known = [file for file in self.files if not set(wanted).isdisjoint(file.splits)]
        if context.links is None:
            files = remembered_files(context.folder, self.files, wanted) or tuple(known)
            return DownloadPlan(entry=self.entry, splits=wanted, files=files)
        links = read_links(context.links)
        files = tuple(
            replace(file, urls=(links[file.name],)) for file in known if file.name in links
        )
        if not files:
            raise UsageError(
                f"{context.links} names no file of {self.entry.name} {' '.join(wanted)}",
                expected=f"rows like {known[0].name}",
                got=", ".join(list(links)[:3]) or "no rows",
                fix=f"Get the list from {self.entry.homepage}.",
            )
        return DownloadPlan(
            entry=self.entry, splits=wanted, files=soonest_expiry_first(files), found=True
        )

    def fetch(self, request: FetchRequest, fetcher: Fetcher) -> Fetched:
        """Fetch by the signed link; see ``Downloader.fetch``."""
        return fetcher.fetch(request)


def read_links(path: Path) -> dict[str, str]:
    """Return the link of each name; of a name that is listed twice, the one that lives longest.

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        It is not a table of ``file_name`` and ``cdn_link``.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError as cause:
        raise UsageError(f"--links {path} does not exist") from cause
    except UnicodeDecodeError as cause:
        raise DataError(f"{path} is no list of links: it is not text") from cause
    links: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        cells = tuple(cell.strip() for cell in line.split("\t"))
        if cells in (("",), _COLUMNS):
            continue
        if len(cells) != len(_COLUMNS) or not cells[1].startswith(("https://", "http://")):
            # The cells are not shown: a link is a secret.
            raise DataError(
                f"line {number} of {path} is no row of a link list",
                expected="file_name, a tab, and a link that starts with https://",
                got=f"{len(cells)} cells",
            )
        name, url = cells
        if name not in links or _expires(url) > _expires(links[name]):
            links[name] = url
    return links


def soonest_expiry_first(files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Return lists of checksums first, then what dies soonest; equal ones keep their order."""
    return tuple(sorted(files, key=lambda file: (file.kind != "text", _file_expires(file))))


def is_dead(file: RemoteFile, now: datetime) -> bool:
    """Whether every link of ``file`` has ended."""
    return bool(file.urls) and all(_expires(url) <= now for url in file.urls)


def dead_links(files: Sequence[RemoteFile], homepage: str) -> str:
    """Return one line that says when the links of ``files`` ended, and what to do."""
    ends = sorted(_file_expires(file) for file in files)
    when = (
        _day(ends[0]) if _day(ends[0]) == _day(ends[-1]) else f"{_day(ends[0])} to {_day(ends[-1])}"
    )
    which = f"the link of {files[0].name}" if len(files) == 1 else f"{len(files)} links"
    return (
        f"{which} ended {when} UTC. Get a fresh list from {homepage} and run the same command "
        "with it: what is there stays, and unfinished files go on"
    )


def will_be_late(
    left: Sequence[tuple[RemoteFile, int]], rate: float, now: datetime
) -> tuple[RemoteFile, ...]:
    """Return the files whose links end before their bytes have come.

    Parameters
    ----------
    left
        The files in the order in which they are fetched, each with the bytes it lacks.
    rate
        Bytes per second.
    """
    if rate <= 0:
        return ()
    ahead, late = 0.0, []
    for file, count in left:
        ahead += count
        if ahead / rate > (_file_expires(file) - now).total_seconds():
            late.append(file)
    return tuple(late)


def _file_expires(file: RemoteFile) -> datetime:
    return max((_expires(url) for url in file.urls), default=_NEVER)


def _expires(url: str) -> datetime:
    return link_expiry(url) or _NEVER


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
