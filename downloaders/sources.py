"""What later stages read: the archives and folders that the ledger of a data set lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from downloaders.archives import ArchiveReader, FolderArchive, open_archive
from downloaders.base import DownloadContext, RemoteFile
from downloaders.ledger import Ledger, LedgerEntry
from downloaders.multipart import part_of
from downloaders.registry import find_dataset
from schemas.errors import IncompleteError, IntegrityError
from schemas.ids import canonical_json, digest_bytes

UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSource:
    """One published file of a data set, as it is on this machine."""

    name: str
    path: Path
    """The archive, the first of its parts, or the folder that stands in for it."""
    top: str | None
    """The folder's place in the member names; None for an archive."""
    digest: str
    """``sha256:…`` of the archive's ledger entry, ``parts:…`` of several, or ``unverified`` for a
    folder."""

    def open(self) -> ArchiveReader:
        """Open it for reading; equal member names whether it is an archive or a folder."""
        if self.top is not None:
            return FolderArchive(self.path, top=self.top, name=self.name)
        return open_archive(self.path)


def find_sources(raw_dir: Path, dataset: str, split: str | None = None) -> list[DatasetSource]:
    """Return the files that ``split`` needs, or all that there are, in the order of the plan.

    None for a data set that is streamed: its plan has no files.

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
    command = f"samdistill download {dataset}" + (f" --split {split}" if split else "")
    found = []
    ledgers: dict[Path, dict[str, LedgerEntry]] = {}
    files = downloader.plan(splits, DownloadContext(folder=raw_dir / dataset)).files
    for file in files:
        folder = raw_dir / (file.dataset or dataset)
        if folder not in ledgers:
            ledgers[folder] = Ledger(folder).latest()
        entry = ledgers[folder].get(file.name)
        source = _source(folder, file, entry) if entry is not None else None
        if source is not None:
            found.append(source)
        elif split is not None:
            raise IncompleteError(f"{folder / file.name} is missing", fix=f"Run `{command}`.")
    if not found and files:
        where = raw_dir / dataset
        raise IncompleteError(f"{where} has no files of {dataset}", fix=f"Run `{command}`.")
    return join_parts(found)


def join_parts(sources: Iterable[DatasetSource]) -> list[DatasetSource]:
    """Return the sources, those that are parts of one file as one; the first part stands for all.

    The digest of a file in parts is that of their digests.
    """
    wholes: dict[tuple[Path, str], list[DatasetSource]] = {}
    for source in sources:
        part = part_of(source.name) if source.top is None else None
        whole = part.whole if part is not None else source.name
        wholes.setdefault((source.path.parent, whole), []).append(source)
    return [
        parts[0] if parts[0].name == whole else _joined(whole, parts)
        for (_, whole), parts in wholes.items()
    ]


def _joined(whole: str, parts: list[DatasetSource]) -> DatasetSource:
    digests = sorted((part.name, part.digest) for part in parts)
    verified = all(digest.startswith("sha256:") for _, digest in digests)
    digest = f"parts:{digest_bytes(canonical_json(digests))}" if verified else UNVERIFIED
    first = min(parts, key=lambda part: part.name)
    return replace(first, name=whole, digest=digest)


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
