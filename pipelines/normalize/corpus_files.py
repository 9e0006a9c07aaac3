"""The files of a text corpus, wherever they lie: alone, in a folder, or in an archive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from downloaders.archives import open_archive
from downloaders.sources import DatasetSource
from pipelines.normalize.sources import UNVERIFIED, SourceFiles
from schemas.errors import DataError, IncompleteError
from schemas.ids import canonical_json, digest_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFile:
    """One file; ``path`` is None for a member of an archive."""

    source: DatasetSource
    name: str
    """Path below the folder or in the archive, or the name of a file that stands alone."""
    path: Path | None

    @property
    def size(self) -> int:
        """Number of bytes."""
        if self.path is not None:
            return self.path.stat().st_size
        with open_archive(self.source.path) as archive:
            return archive.size(self.name)

    def read(self) -> bytes:
        """Return the whole file."""
        if self.path is not None:
            return self.path.read_bytes()
        with open_archive(self.source.path) as archive:
            return archive.read(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePattern:
    """How the files of one split are recognised by their names."""

    regex: str
    """Must match a whole file name; its group ``source`` names the part of the corpus."""

    def source(self, file: CorpusFile) -> str | None:
        """Return the part that ``file`` is; None when it is no file of the split."""
        found = re.fullmatch(self.regex, PurePosixPath(file.name).name)
        return None if found is None else found.groupdict().get("source") or ""


def corpus_files(files: SourceFiles, pattern: NamePattern) -> list[CorpusFile]:
    """Return the files that fit, each once, sorted by name.

    Raises
    ------
    IncompleteError
        There are none.
    DataError
        Two different files have one name.
    """
    found: dict[str, CorpusFile] = {}
    for source in files.archives:
        for file in _members(source):
            if pattern.source(file) is None:
                continue
            leaf = PurePosixPath(file.name).name
            known = found.setdefault(leaf, file)
            if known is not file and not _same(known, file):
                raise DataError(
                    f"{files.where} has two files {leaf}",
                    got=f"{known.name} and {file.name}",
                    fix="Give a folder with one of them by --from.",
                )
    if not found:
        raise IncompleteError(
            f"{files.where} has no file whose name fits {pattern.regex}",
            fix="Give the folder that has them by --from.",
        )
    return [found[leaf] for leaf in sorted(found)]


def corpus_digests(files: list[CorpusFile], *, content: bool) -> dict[str, str]:
    """Return by archive what its ledger states, or else a digest of what is read from it.

    Parameters
    ----------
    content
        Hash whole files; otherwise only their names and sizes.
    """
    read: dict[str, dict[str, str | int]] = {}
    stated: dict[str, str] = {}
    for file in files:
        stated[file.source.name] = file.source.digest
        if file.source.digest == UNVERIFIED:
            value = digest_bytes(file.read()) if content else file.size
            read.setdefault(file.source.name, {})[file.name] = value
    found = {name: f"{UNVERIFIED}:{digest_bytes(canonical_json(read[name]))}" for name in read}
    return dict(sorted((stated | found).items()))


def _members(source: DatasetSource) -> Iterator[CorpusFile]:
    if source.top is not None:
        for path in sorted(source.path.rglob("*")):
            name = path.relative_to(source.path).as_posix()
            if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
                yield CorpusFile(source=source, name=name, path=path)
    elif source.path.suffix in (".json", ".parquet"):
        yield CorpusFile(source=source, name=source.name, path=source.path)
    else:
        with open_archive(source.path) as archive:
            members = list(archive.members())
        for name in members:
            if not name.startswith("__MACOSX/"):
                yield CorpusFile(source=source, name=name, path=None)


def _same(one: CorpusFile, other: CorpusFile) -> bool:
    if one.path is not None and other.path is not None:
        return one.path.samefile(other.path)
    return False
