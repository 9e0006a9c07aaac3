"""A data set with archives of known ids, and small files in folders of Google Drive beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from downloaders.found_files import remembered_files
from schemas.errors import DownloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveListDownloader:
    """Plans from a fixed list of archives; see ``Downloader``.

    Online, the folders are listed too. What they hold is welcome, not needed: when they cannot be
    listed, the plan says so and has the archives alone.
    """

    entry: DatasetEntry
    files: tuple[RemoteFile, ...]
    folders: tuple[str, ...]
    """Ids of folders that hold JSON files."""
    split_of: Callable[[str], str | None]
    """Returns the split that a file of the folders serves, by its name; None for any other file."""

    def plan(self, splits: Sequence[str], context: DownloadContext = NO_CONTEXT) -> DownloadPlan:
        """Return the archives that serve ``splits``, and what the folders have for them.

        Folders are listed until all that they had is here.
        """
        wanted = self.entry.check_splits(splits)
        archives = tuple(file for file in self.files if not set(wanted).isdisjoint(file.splits))
        beside, found, warnings = self._remembered(wanted, context), False, tuple[str, ...]()
        here = [file for file in beside if _is_here(file, context)]
        if context.online and (not beside or len(here) < len(beside)):
            try:
                here, found = self._listed(wanted), True
            except DownloadError as error:
                warnings = (f"the files that name the objects will be missing: {error}",)
        return DownloadPlan(
            entry=self.entry,
            splits=wanted,
            files=archives + tuple(here),
            found=found,
            warnings=warnings,
        )

    def fetch(self, request: FetchRequest, fetcher: Fetcher) -> Fetched:
        """Fetch from Drive; see ``Downloader.fetch``."""
        return fetcher.fetch(request)

    def _remembered(self, wanted: Sequence[str], context: DownloadContext) -> list[RemoteFile]:
        archives = {file.name for file in self.files}
        known = remembered_files(context.folder, self.files, wanted)
        return [file for file in known if file.name not in archives]

    def _listed(self, wanted: Sequence[str]) -> list[RemoteFile]:
        # Importing an HTTP client costs more than planning does.
        from downloaders.drive_folder import list_drive_folder

        found: dict[str, RemoteFile] = {}
        for folder in self.folders:
            for entry in list_drive_folder(folder):
                split = self.split_of(entry.name)
                if split is not None and split in wanted:
                    found.setdefault(entry.name, _json_file(entry.name, entry.id, split))
        if not found:
            raise DownloadError(
                f"no folder of {self.entry.title} has a file for {' '.join(wanted)}",
                fix=f"See {self.entry.homepage}.",
            )
        return [found[name] for name in sorted(found)]


def _json_file(name: str, drive_id: str, split: str) -> RemoteFile:
    return RemoteFile(
        name=name, path=name, urls=(f"gdrive://{drive_id}",), kind="json", splits=(split,)
    )


def _is_here(file: RemoteFile, context: DownloadContext) -> bool:
    return context.folder is not None and (context.folder / file.name).is_file()
