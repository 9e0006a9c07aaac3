"""What later stages read: the archives and folders that the ledger of a data set lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from downloaders.archives import ArchiveReader, FolderArchive, open_archive
from downloaders.base import RemoteFile
from downloaders.ledger import Ledger, LedgerEntry
from downloaders.registry import find_dataset
from schemas.errors import IncompleteError, IntegrityError


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSource:
    """One published file of a data set, as it is on this machine."""

    name: str
    path: Path
    """The archive, or the folder that stands in for it."""
    top: str | None
    """The folder's place in the member names; None for an archive."""
    digest: str
    """``sha256:…`` of the archive's ledger entry, or ``unverified`` for a folder."""

    def open(self) -> ArchiveReader:
        """Open it for reading; equal member names whether it is an archive or a folder."""
        if self.top is not None:
            return FolderArchive(self.path, top=self.top, name=self.name)
        return open_archive(self.path)


def find_sources(raw_dir: Path, dataset: str, split: str | None = None) -> list[DatasetSource]:
    """Return the files that ``split`` needs, or all that there are, in the order of the plan.

    Parameters
    ----------
    raw_dir
        ``ROOT/raw``; the data set's own folder is below it.

    Raises
    ------
    IncompleteError
        A file of the split is missing, or nothing was downloaded; the message has the command.
    IntegrityError
        An archive has another size than when it was downloaded.
    """
    downloader = find_dataset(dataset)
    splits = [known.name for known in downloader.entry.splits] if split is None else [split]
    folder = raw_dir / dataset
    latest = Ledger(folder).latest()
    command = f"samdistill download {dataset}" + (f" --split {split}" if split else "")
    found = []
    for file in downloader.plan(splits).files:
        entry = latest.get(file.name)
        source = _source(folder, file, entry) if entry is not None else None
        if source is not None:
            found.append(source)
        elif split is not None:
            raise IncompleteError(f"{folder / file.name} is missing", fix=f"Run `{command}`.")
    if not found:
        raise IncompleteError(f"{folder} has no files of {dataset}", fix=f"Run `{command}`.")
    return found


def open_sources(raw_dir: Path, dataset: str, split: str | None = None) -> list[ArchiveReader]:
    """Open what ``find_sources`` finds; the caller closes each."""
    readers: list[ArchiveReader] = []
    try:
        for source in find_sources(raw_dir, dataset, split):
            readers.append(source.open())  # noqa: PERF401  those already open must be closed
    except BaseException:
        for reader in readers:
            reader.close()
        raise
    return readers


def _source(folder: Path, file: RemoteFile, entry: LedgerEntry) -> DatasetSource | None:
    if entry.kind == "folder" and file.unpacked is not None:
        return DatasetSource(
            name=file.name, path=Path(entry.url), top=file.unpacked.top, digest=entry.digest
        )
    path = folder / file.name
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size != entry.bytes:
        raise IntegrityError(
            f"{path} changed since it was downloaded",
            expected=f"{entry.bytes} bytes",
            got=f"{size} bytes",
            fix="Delete it, then run the same `samdistill download` command as before.",
        )
    return DatasetSource(name=file.name, path=path, top=None, digest=entry.digest)
