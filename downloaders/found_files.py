"""``raw/<dataset>/files.json``: which files there are, where only a run could find that out.

A list of links, or the listing of a repository, names them once; later stages ask offline.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from downloaders.base import DownloadPlan, FileKind, RemoteFile
from downloaders.disk import disk_errors
from downloaders.ledger import Ledger
from schemas.errors import DataError

_NAME = "files.json"


class FoundFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file as it was listed, without its URLs: those may be secrets, and die."""

    name: str
    path: str
    kind: FileKind
    splits: tuple[str, ...]
    bytes: int | None
    checksum: str | None


def remember_files(folder: Path, plan: DownloadPlan) -> None:
    """Store the files of ``plan`` for its splits; what is stored of other splits stays."""
    others = [file for file in _stored(folder) if set(file.splits).isdisjoint(plan.splits)]
    files = [_found(file) for file in plan.files]
    body = msgspec.json.encode(sorted(others + files, key=lambda file: file.name))
    path = folder / _NAME
    temporary = path.with_name(_NAME + ".tmp")
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)


def remembered_files(
    folder: Path | None, known: Sequence[RemoteFile], splits: Sequence[str]
) -> tuple[RemoteFile, ...]:
    """Return what was last listed for ``splits``, and what came by earlier lists, without URLs.

    Parameters
    ----------
    known
        Files that are described in advance; a remembered one of the same name is taken from here.

    Raises
    ------
    DataError
        The stored list is damaged.
    """
    if folder is None:
        return ()
    stored = {file.name: file for file in _stored(folder)}
    described = {file.name: file for file in known}
    names = dict.fromkeys(
        [*stored, *(name for name in Ledger(folder).latest() if name in described)]
    )
    files = (described.get(name) or _remote(stored[name]) for name in sorted(names))
    return tuple(file for file in files if not set(splits).isdisjoint(file.splits))


def _stored(folder: Path) -> list[FoundFile]:
    path = folder / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[FoundFile])
    except FileNotFoundError:
        return []
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataError(
            f"{path} is damaged: {cause}", fix="Delete it and run `samdistill download` again."
        ) from cause


def _found(file: RemoteFile) -> FoundFile:
    return FoundFile(
        name=file.name,
        path=file.path,
        kind=file.kind,
        splits=file.splits,
        bytes=file.bytes,
        checksum=file.checksum,
    )


def _remote(file: FoundFile) -> RemoteFile:
    return RemoteFile(
        name=file.name,
        path=file.path,
        urls=(),
        kind=file.kind,
        splits=file.splits,
        bytes=file.bytes,
        checksum=file.checksum,
    )
