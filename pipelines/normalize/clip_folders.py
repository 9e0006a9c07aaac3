"""Clips as folders of numbered images, and masks in a parallel tree: which file is which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.normalize.sources import SourceFiles
from schemas.errors import DataError, IncompleteError, UsageError
from schemas.samples import Source

FRAME_SUFFIXES = frozenset([".jpg", ".jpeg", ".png"])
MASK_SUFFIXES = frozenset([".png"])

Stems = Mapping[str, Source]
"""Files of one clip by name without suffix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTree:
    """A folder that holds one folder per clip."""

    folder: str
    clips: Mapping[str, Stems]


def frame_order(clip: str, stems: Iterable[str]) -> list[str]:
    """Return frame names in the order of their numbers: 2 comes before 10.

    Raises
    ------
    DataError
        A name is not a number, or two names are the same number.
    """
    numbers: dict[int, str] = {}
    for stem in stems:
        if not (stem.isascii() and stem.isdigit()):
            raise DataError(f"frame {stem!r} of clip {clip}", expected="a number as its name")
        if numbers.setdefault(int(stem), stem) != stem:
            raise DataError(f"clip {clip} has two frames of number {int(stem)}")
    return [numbers[number] for number in sorted(numbers)]


def find_tree(
    files: SourceFiles, candidates: Iterable[str], suffixes: frozenset[str], option: str
) -> ClipTree:
    """Return the tree of the first candidate folder that the source has.

    Raises
    ------
    IncompleteError
        No candidate is there; the message names the folders that are.
    UsageError
        Several folders have the candidate's path.
    """
    trees = _trees(files, suffixes)
    tried = tuple(candidates)
    for candidate in tried:
        wanted = candidate.strip("/")
        found = [name for name in trees if f"/{name}".endswith(f"/{wanted}")]
        if len(found) > 1:
            raise UsageError(
                f"{files.where} has several folders {wanted}: {', '.join(sorted(found)[:5])}",
                fix=f"Say which one by {option}, with more of its path.",
            )
        if found:
            return ClipTree(folder=found[0], clips=trees[found[0]])
    raise IncompleteError(
        f"{files.where} has no folder {' or '.join(tried)} with clips",
        got=", ".join(sorted(trees)[:8]) or "no folder of clips at all",
        fix=f"Name the folder by {option}, or check --from.",
    )


def _trees(files: SourceFiles, suffixes: frozenset[str]) -> dict[str, dict[str, dict[str, Source]]]:
    trees: defaultdict[str, defaultdict[str, dict[str, Source]]]
    trees = defaultdict(lambda: defaultdict(dict))
    for source in files:
        path = PurePosixPath(source.member)
        if path.suffix.lower() in suffixes and len(path.parts) > 2:
            clip = trees[str(path.parent.parent)][path.parent.name]
            if clip.setdefault(path.stem, source) is not source:
                raise DataError(f"{source.member} of {files.where} has a namesake in {path.parent}")
    return {folder: dict(clips) for folder, clips in trees.items()}
