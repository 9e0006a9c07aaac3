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
    clips = _clips_by_folder(files, suffixes)
    tried = tuple(candidates)
    for candidate in tried:
        wanted = candidate.strip("/")
        found = [folder for folder in clips if f"/{folder}".endswith(f"/{wanted}")]
        if len(found) > 1:
            raise UsageError(
                f"{files.where} has several folders {wanted}: {', '.join(sorted(found)[:5])}",
                fix=f"Say which one by {option}, with more of its path.",
            )
        if found:
            return _tree(files, found[0], clips[found[0]])
    raise IncompleteError(
        f"{files.where} has no folder {' or '.join(tried)} with clips",
        got=", ".join(sorted(clips)[:8]) or "no folder of clips at all",
        fix=f"Name the folder by {option}, or check --from.",
    )


def _clips_by_folder(
    files: SourceFiles, suffixes: frozenset[str]
) -> dict[str, dict[str, list[Source]]]:
    """Return the files by the folder above their own, then by their own: hundreds of thousands."""
    folders: defaultdict[str, defaultdict[str, list[Source]]]
    folders = defaultdict(lambda: defaultdict(list))
    for source in files:
        path, _, name = source.member.rpartition("/")
        folder, _, clip = path.rpartition("/")
        if folder and PurePosixPath(name).suffix.lower() in suffixes:
            folders[folder][clip].append(source)
    return {folder: dict(clips) for folder, clips in folders.items()}


def _tree(files: SourceFiles, folder: str, sources: Mapping[str, list[Source]]) -> ClipTree:
    clips: dict[str, dict[str, Source]] = {}
    for clip, found in sources.items():
        stems = clips.setdefault(clip, {})
        for source in found:
            stem = PurePosixPath(source.member).stem
            if stems.setdefault(stem, source) is not source:
                raise DataError(f"{source.member} of {files.where} has a namesake beside it")
    return ClipTree(folder=folder, clips=clips)
