"""One file that was cut into parts, as ``split`` does: ``name.aa name.ab …``, ``name.001 …``."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from downloaders.byte_source import FileBytes
from schemas.errors import ArchiveError
from schemas.ids import canonical_json, digest_bytes

# Two letters after an archive's suffix number a part, but for the suffixes of compressors.
_PART = re.compile(
    r"(?P<whole>.+\.(?:zip|tar|tgz|gz))\.(?P<mark>part[-_]?)?"
    r"(?:(?P<letters>(?!(?:gz|xz|bz|lz|br)$)[a-z]{2,3})|(?P<digits>\d{1,4}))"
)


class Part(NamedTuple):
    """What the name of a part says."""

    whole: str
    """Name of the file that was cut."""
    number: int
    name: str


def part_of(name: str) -> Part | None:
    """Return what ``name`` says when it is that of a part, else None.

    >>> part_of("train.tar.gz.ab")
    Part(whole='train.tar.gz', number=1, name='train.tar.gz.ab')
    """
    found = _PART.fullmatch(name)
    if found is None or (found["digits"] and len(found["digits"]) == 1 and not found["mark"]):
        return None
    if found["digits"]:
        return Part(found["whole"], int(found["digits"]), name)
    number = 0
    for letter in found["letters"]:
        number = number * 26 + ord(letter) - ord("a")
    return Part(found["whole"], number, name)


def find_parts(path: Path) -> tuple[Path, ...]:
    """Return all parts of the file that ``path`` is a part of, in order.

    Raises
    ------
    ArchiveError
        A part before the last one is missing. Whether the last one is there, no name tells.
    """
    mine = part_of(path.name)
    if mine is None or not path.is_file():
        return (path,)
    found = (part_of(other.name) for other in path.parent.iterdir())
    parts = sorted(
        (part for part in found if part is not None and part.whole == mine.whole),
        key=lambda part: part.number,
    )
    _check_complete(path.parent, parts)
    return tuple(path.with_name(part.name) for part in parts)


def _check_complete(folder: Path, parts: Sequence[Part]) -> None:
    first = 1 if parts[0].number == 1 and parts[0].name[-1].isdigit() else 0
    for number, part in enumerate(parts, start=first):
        if part.number != number:
            before = f"after {parts[number - first - 1].name}" if number > first else "at the start"
            raise ArchiveError(
                f"{folder / part.whole}: a part is missing {before}, or there twice",
                expected=f"part number {number - first + 1}",
                got=f"{part.name}, which is number {part.number - first + 1}",
                fix="Run the same `samdistill download` command as before.",
            )


class JoinedBytes:
    """The bytes of ``paths`` one after the other; see ``ByteSource``."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: list[FileBytes] = []
        try:
            for path in paths:
                self._files.append(FileBytes(path))
        except ArchiveError:
            self.close()
            raise
        self._ends = list(accumulate(file.size for file in self._files))
        self.size = self._ends[-1]
        first = self._files[0].path
        part = part_of(first.name)
        self.cache = first.with_name(part.whole) if part else first

    def __reduce__(self) -> tuple[object, ...]:
        return JoinedBytes, ([file.path for file in self._files],)

    @cached_property
    def label(self) -> str:
        """See ``ByteSource.label``; names a part that looks truncated."""
        text = f"{self.cache} in {len(self._files)} parts"
        for file in self._files[:-1]:
            if file.size != self._files[0].size:
                return f"{text} (of which {file.path.name} has another size than the first)"
        return text

    @property
    def identity(self) -> str:
        """See ``ByteSource.identity``."""
        return digest_bytes(canonical_json([file.identity for file in self._files]))

    def pread(self, count: int, offset: int) -> bytes:
        """See ``ByteSource.pread``."""
        pieces = []
        number = bisect_right(self._ends, offset)
        while count > 0 and number < len(self._files):
            start = self._ends[number] - self._files[number].size
            piece = self._files[number].pread(count, offset - start)
            pieces.append(piece)
            count, offset, number = count - len(piece), offset + len(piece), number + 1
        return b"".join(pieces)

    def close(self) -> None:
        """See ``ByteSource.close``."""
        for file in self._files:
            file.close()
