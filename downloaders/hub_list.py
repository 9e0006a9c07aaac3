"""A data set on the Hugging Face hub of which the file names are known, but not where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

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
from schemas.errors import DownloadError

if TYPE_CHECKING:
    from downloaders.hub import HubFile


@dataclass(frozen=True, slots=True, kw_only=True)
class HubListDownloader:
    """Plans from a fixed list of names; see ``Downloader``.

    Online, the repositories are listed: that gives each file's folder, size and checksum.
    """

    entry: DatasetEntry
    files: tuple[RemoteFile, ...]

    def plan(self, splits: Sequence[str], context: DownloadContext = NO_CONTEXT) -> DownloadPlan:
        """Return the files that serve any of ``splits``; see ``Downloader.plan``.

        Raises
        ------
        DownloadError
            The hub cannot be asked, or it has none, or several, of a file.
        """
        wanted = self.entry.check_splits(splits)
        files = tuple(file for file in self.files if not set(wanted).isdisjoint(file.splits))
        if context.online:
            files = tuple(_located(files))
        return DownloadPlan(entry=self.entry, splits=wanted, files=files)

    def fetch(self, request: FetchRequest, fetcher: Fetcher) -> Fetched:
        """Fetch from the hub; see ``Downloader.fetch``."""
        return fetcher.fetch(request)


def _located(files: Sequence[RemoteFile]) -> Iterator[RemoteFile]:
    # Importing an HTTP client costs more than planning does.
    from downloaders.hub import list_hub_files

    listed: dict[str, list[HubFile]] = {}
    for file in files:
        repository = file.urls[0].removesuffix(f"/{file.path}")
        if repository not in listed:
            listed[repository] = list_hub_files(repository)
        found = _choose(file, listed[repository], repository)
        yield replace(
            file,
            path=found.path,
            urls=(f"{repository}/{found.path}",),
            bytes=found.bytes,
            checksum=found.checksum,
        )


def _choose(file: RemoteFile, listed: Sequence[HubFile], repository: str) -> HubFile:
    """Return the file at the expected path, or else the only one of that name."""
    named = [item for item in listed if PurePosixPath(item.path).name == file.name]
    expected = [item for item in named if item.path == file.path]
    for found in (expected, named):
        if len(found) == 1:
            return found[0]
    raise DownloadError(
        f"{repository} has changed",
        expected=f"one file {file.name}",
        got=", ".join(item.path for item in named) or "none",
        fix="Bring the file by hand and give its folder by --from.",
    )
