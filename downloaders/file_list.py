"""A data set whose files are known by name in advance and are open to everyone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FileListDownloader:
    """Plans from a fixed list of files; see ``Downloader``."""

    entry: DatasetEntry
    files: tuple[RemoteFile, ...]

    def plan(self, splits: Sequence[str], context: DownloadContext = NO_CONTEXT) -> DownloadPlan:
        """Return the files that serve any of ``splits``; see ``Downloader.plan``."""
        wanted = self.entry.check_splits(splits)
        files = tuple(file for file in self.files if not set(wanted).isdisjoint(file.splits))
        return DownloadPlan(entry=self.entry, splits=wanted, files=files)

    def fetch(self, request: FetchRequest, fetcher: Fetcher) -> Fetched:
        """Fetch from the listed mirrors; see ``Downloader.fetch``."""
        return fetcher.fetch(request)
