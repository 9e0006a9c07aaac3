"""A folder that somebody made by unpacking an archive, seen as that archive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from downloaders.member_names import check_member_name, no_member
from schemas.errors import ArchiveError


class FolderArchive:
    """The files below ``root``, with names that begin with ``top``; see ``ArchiveReader``.

    Parameters
    ----------
    top
        The folder that the archive holds. ``root`` may have another name on this machine.
    """

    def __init__(self, root: Path, *, top: str, name: str | None = None) -> None:
        self.root, self.top = root.absolute(), check_member_name(root, top)
        self.name = name or root.name
        if not self.root.is_dir():
            raise ArchiveError(
                f"the folder {self.root}, which stands in for {self.name}, is gone",
                fix="Bring it back, or run `samdistill download` again.",
            )

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.root, self.top, self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """See ``ArchiveReader.close``; a folder holds no descriptor."""

    def members(self) -> Sequence[str]:
        """See ``ArchiveReader.members``; the folder is listed once, at the first call."""
        return self._members

    def size(self, member: str) -> int:
        """See ``ArchiveReader.size``."""
        return self._path(member).stat().st_size

    def read(self, member: str) -> bytes:
        """See ``ArchiveReader.read``."""
        with self.open(member) as stream:
            return stream.read()

    def open(self, member: str) -> BinaryIO:
        """See ``ArchiveReader.open``."""
        path = self._path(member)
        try:
            return path.open("rb")
        except OSError as cause:
            raise ArchiveError(f"cannot read {path}: {cause.strerror}") from cause

    @cached_property
    def _members(self) -> tuple[str, ...]:
        return tuple(sorted(_walk(self.root, self.root, self.top)))

    def _path(self, member: str) -> Path:
        top, _, rest = check_member_name(self.root, member).partition("/")
        path = self.root / rest
        if top != self.top or not rest or not path.is_file():
            raise no_member(self.root, member)
        _check_inside(path, self.root)
        return path


def _reopen(root: Path, top: str, name: str) -> FolderArchive:
    return FolderArchive(root, top=top, name=name)


def _walk(folder: Path, root: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if entry.is_symlink():
                _check_inside(Path(entry.path), root)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), root, name)
            elif entry.is_file():
                yield check_member_name(root, name)
            else:
                raise _strange(Path(entry.path), "a link to a folder, or no file at all")


def _check_inside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise _strange(path, "a link that leaves the folder")


def _strange(path: Path, what: str) -> ArchiveError:
    return ArchiveError(
        f"{path} is {what}", expected="plain files", fix="Replace it by what it points to."
    )
