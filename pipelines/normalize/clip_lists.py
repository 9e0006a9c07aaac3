"""Which clips a split has: by the user's pattern, its list, its meta file, or all there are."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from pipelines.normalize.clip_folders import ClipTree
from pipelines.normalize.sources import SourceFiles
from schemas.errors import IncompleteError


def read_clip_list(body: bytes) -> list[str]:
    """Return the clips of a list, one per line: its name, or the path of one of its frames.

    DAVIS 2016 lists frames, each beside its mask.
    """
    words = (
        line.split()[0] for line in body.decode("utf-8", "replace").splitlines() if line.split()
    )
    names = (PurePosixPath(word).parent.name if "/" in word else word for word in words)
    return list(dict.fromkeys(names))


def matching_clips(tree: ClipTree, pattern: str) -> Sequence[str]:
    """Return the clips whose name matches the user's pattern; none is an error."""
    found = [clip for clip in sorted(tree.clips) if fnmatch.fnmatchcase(clip, pattern)]
    if not found:
        raise IncompleteError(
            f"no clip of {tree.folder} matches --clips {pattern!r}",
            got=", ".join(sorted(tree.clips)[:8]),
        )
    return found


def listed_clips(tree: ClipTree, names: Collection[str], where: str) -> Sequence[str]:
    """Return the clips that the file ``where`` lists, sorted; all of them must be there."""
    if missing := sorted(set(names) - tree.clips.keys()):
        raise IncompleteError(
            f"{len(missing)} of {len(names)} clips of {where} are not in {tree.folder}: "
            f"{', '.join(missing[:5])}",
            fix="Complete the source, or name the clips to take by --clips.",
        )
    return sorted(names)


def refuse_unlisted(files: SourceFiles, split: str, lists: str) -> None:
    """Raise when the source has lists of clips, but none of this split."""
    others = sorted(
        PurePosixPath(source.member).stem
        for source in files
        if fnmatch.fnmatchcase(f"/{source.member}", f"*/{lists}")
    )
    if others:
        raise IncompleteError(
            f"{files.where} has no list of clips for the split {split!r}",
            expected=f"one of {', '.join(others)}",
            fix="Choose such a --split, or name the clips to take by --clips ('*' is all).",
        )
