"""The members of all archives and folders that a split is read from, in one place."""

from __future__ import annotations

import contextlib
import fnmatch
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from downloaders.archives import ArchiveReader
from downloaders.local import find_archive
from downloaders.multipart import part_of
from downloaders.registry import find_dataset
from downloaders.sources import UNVERIFIED as UNVERIFIED
from downloaders.sources import DatasetSource, find_sources, join_parts
from schemas.errors import IncompleteError, UsageError
from schemas.ids import canonical_json, digest_bytes
from schemas.samples import Source

_HIDDEN = (".", "__MACOSX")
_LOOSE = frozenset(["json", "text", "parquet"])


class SourceFiles:
    """Members of several archives, found and read by ``Source``. Picklable."""

    def __init__(self, where: Path, archives: tuple[DatasetSource, ...]) -> None:
        self.where, self.archives = where, archives
        """``where``: the folder or file that the user knows, for messages."""

    def __reduce__(self) -> tuple[type[SourceFiles], tuple[Path, tuple[DatasetSource, ...]]]:
        return SourceFiles, (self.where, self.archives)

    def __iter__(self) -> Iterator[Source]:
        """Yield every member, archive by archive; hidden files and folders are left out."""
        for archive in self.archives:
            # The folder that the user gave may be hidden itself.
            given = 0 if archive.top is None else 1
            for member in self._readers[archive.name].members():
                if not any(part.startswith(_HIDDEN) for part in member.split("/")[given:]):
                    yield Source(archive=archive.name, member=member)

    def with_beside(self, names: Iterable[str]) -> SourceFiles:
        """Return these, and the files of such names that lie beside the archives, unpublished."""
        folder = (self.where if self.where.is_dir() else self.where.parent).resolve()
        if any(archive.path == folder for archive in self.archives):
            return self  # as an unpacked folder it is listed already
        known = {archive.name for archive in self.archives}
        found = [
            _unverified(name, folder / name, None)
            for name in names
            if name not in known and (folder / name).is_file()
        ]
        return SourceFiles(self.where, (*self.archives, *found))

    def read(self, source: Source) -> bytes:
        """Return the whole member."""
        return self._readers[source.archive].read(source.member)

    def open(self, source: Source) -> BinaryIO:
        """Open the member as a stream."""
        return self._readers[source.archive].open(source.member)

    def digests(self, media: Iterable[Source], annotations: Iterable[Source]) -> dict[str, str]:
        """Return by archive what its ledger states, or else a digest of what is read from it.

        Media are hashed by name and size, annotation files by name and content: a folder that
        changed is noticed, and 19 GB of images need not be read for it.
        """
        used: defaultdict[str, list[tuple[str, bool]]] = defaultdict(list)
        for source in annotations:
            used[source.archive].append((source.member, True))
        for source in media:
            used[source.archive].append((source.member, False))
        stated = {archive.name: archive.digest for archive in self.archives}
        return {
            name: self._digest(name, used[name]) if stated[name] == UNVERIFIED else stated[name]
            for name in sorted(used)
        }

    def _digest(self, archive: str, members: Iterable[tuple[str, bool]]) -> str:
        reader = self._readers[archive]
        contents = {
            member: digest_bytes(reader.read(member)) if whole else reader.size(member)
            for member, whole in members
        }
        return f"{UNVERIFIED}:{digest_bytes(canonical_json(contents))}"

    @cached_property
    def _readers(self) -> dict[str, ArchiveReader]:
        with contextlib.ExitStack() as stack:
            readers = {item.name: stack.enter_context(item.open()) for item in self.archives}
            # A stage has no last moment, in an actor least of all: they close with this object.
            weakref.finalize(self, stack.pop_all().close)
        return readers


def downloaded_files(raw: Path, dataset: str, split: str) -> SourceFiles:
    """Return what ``samdistill download`` brought for a split.

    Raises
    ------
    IncompleteError
        An archive of the split is missing.
    """
    known = split in _split_names(dataset)
    found = find_sources(raw, dataset, split if known else None)
    return SourceFiles(raw / dataset, tuple(found))


def local_files(origin: Path, dataset: str, split: str) -> SourceFiles:
    """Return what lies at ``origin``: one archive, a folder of archives, or unpacked folders.

    Archives are recognised by their published names; when one of the split is not there, the whole
    folder is searched as it is.
    """
    if origin.is_file():
        part = part_of(origin.name)
        name = part.whole if part else origin.name
        return SourceFiles(origin, (_unverified(name, origin, None),))
    if not origin.is_dir():
        raise IncompleteError(
            f"{origin} does not exist", fix="Give an archive or folder by --from."
        )
    names = _split_names(dataset)
    files = find_dataset(dataset).plan([split] if split in names else names).files
    paths = {file.name: find_archive(file, origin) for file in files}
    archives = [_unverified(name, path, None) for name, path in paths.items() if path is not None]
    if len(archives) < len(files) or not archives:
        # The folder has the files that are no archives too, and would give them twice.
        loose = {file.name for file in files if file.kind in _LOOSE}
        archives = [archive for archive in archives if archive.name not in loose]
        folder = origin.resolve()
        archives.append(_unverified(folder.name, folder, folder.name))
    return SourceFiles(origin, tuple(join_parts(archives)))


def find_file(files: SourceFiles, pattern: str) -> Source | None:
    """Return the one member whose path, or end of path, matches ``pattern``; None if none does.

    Raises
    ------
    UsageError
        Several members match.
    """
    found = [
        source
        for source in files
        if fnmatch.fnmatchcase(source.member, pattern)
        or fnmatch.fnmatchcase(source.member, f"*/{pattern}")
    ]
    if len(found) > 1:
        raise UsageError(
            f"{pattern} fits {len(found)} files of {files.where}",
            expected="one",
            got=", ".join(source.member for source in found[:4]),
        )
    return found[0] if found else None


def path_below(member: str, folder: str) -> str | None:
    """Return the part of ``member`` below a folder of that path, wherever it is; None if outside.

    >>> path_below("images/val2017/1.jpg", "val2017")
    '1.jpg'
    """
    _, inside, rest = f"/{member}".partition(f"/{folder.strip('/')}/")
    return rest if inside else None


def _split_names(dataset: str) -> list[str]:
    return [split.name for split in find_dataset(dataset).entry.splits]


def _unverified(name: str, path: Path, top: str | None) -> DatasetSource:
    return DatasetSource(name=name, path=path.absolute(), top=top, digest=UNVERIFIED)
