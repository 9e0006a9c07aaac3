"""What a data set consists of and what a downloader promises; records only, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from schemas.ids import nearest_name
from schemas.samples import MediaKind

FileKind = Literal["zip", "gzip", "tar", "json", "parquet", "text", "part"]
"""What the first bytes must look like. A ``tar`` may be gzipped whatever its name says; a ``part``
is a further piece of a split file, which begins with any bytes but those of a web page."""
_FEATURES: dict[MediaKind, tuple[str, ...]] = {
    "image": ("image", "text"),
    "video": ("image", "memory"),
    "text": ("text",),
}
Progress = Callable[[int], None]
"""Called with the number of bytes of the file that are on disk so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """How to recognise a folder that somebody made by unpacking an archive."""

    top: str
    """The one folder that the archive holds; members keep this name in front."""
    holds: tuple[str, ...] = ()
    """Paths below it that must exist. With these, a folder of any other name is accepted too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file as its publisher offers it."""

    name: str
    """File name below ``raw/<dataset>/``; unique in its data set."""
    path: str
    """Where mirrors and folders have it, below their base; its last part is the name."""
    urls: tuple[str, ...]
    """Mirrors in order of preference. All serve the same bytes. Empty when only the user can bring
    the file, or its link: see ``DatasetEntry.to_do``."""
    kind: FileKind
    splits: tuple[str, ...]
    """The splits that need this file."""
    bytes: int | None = None
    checksum: str | None = None
    """``sha256:…`` or ``md5:…`` as published; None when nobody states one."""
    unpacked: Unpacked | None = None
    """None when only the archive itself can be used."""
    dataset: str | None = None
    """Data set in whose raw folder it lies; None for the one whose plan it is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFacts:
    """What the publisher says about a split."""

    name: str
    images: int | None = None
    """Still images, or frames of all clips."""
    clips: int | None = None
    objects: int | None = None
    records: int | None = None
    """Of a text corpus: captions, or pairs of an image and a phrase."""
    verified: bool = False
    """Whether the counts are known to be those of the published files. Others are for people."""
    about: str = ""
    by_default: bool = True
    """Whether it is downloaded when no split is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetEntry:
    """What a person should know before downloading."""

    name: str
    title: str
    about: str
    media: MediaKind
    licence: str
    homepage: str
    cite: str
    splits: tuple[SplitFacts, ...]
    to_do: str
    """What the user has to do by hand first; empty when the links are open."""
    must_accept: bool = False
    """Whether the publisher requires that somebody agrees to the licence."""
    features: tuple[str, ...] = ()
    """What of ``samdistill cache --features`` suits it; empty for the usual of its media."""
    needs_links: bool = False
    """Whether the publisher hands out links by ``--links FILE`` only, each for a limited time."""

    @property
    def suitable_features(self) -> tuple[str, ...]:
        """What is worth caching of it."""
        return self.features or _FEATURES[self.media]

    def check_splits(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return ``names`` without repeats, or the default splits when there are none.

        Raises
        ------
        UnknownNameError
            The data set has no such split.
        """
        known = tuple(split.name for split in self.splits)
        for name in names:
            if name not in known:
                raise nearest_name(f"split of {self.name}", name, known)
        default = (split.name for split in self.splits if split.by_default)
        return tuple(dict.fromkeys(names or default))


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadContext:
    """What a plan may depend on beside the splits."""

    folder: Path | None = None
    """``raw/<dataset>``: what earlier runs found there is to be had; None when nobody ran."""
    links: Path | None = None
    """``--links``: the list of signed links that the user got from the publisher."""
    online: bool = False
    """Whether the publisher may be asked which files there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPlan:
    """The files that the chosen splits need, in the order in which they are fetched."""

    entry: DatasetEntry
    splits: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    found: bool = False
    """Whether the list of files comes from the user or the publisher, and is to be remembered."""
    warnings: tuple[str, ...] = ()
    """What it lacks, and why; a line each, for people."""

    @property
    def total_bytes(self) -> int:
        """Sum of the sizes that are published."""
        return sum(file.bytes or 0 for file in self.files)

    @property
    def unknown_sizes(self) -> int:
        """Number of files whose size nobody states; ``total_bytes`` lacks them."""
        return sum(file.bytes is None for file in self.files)

    def at_mirror(self, base: str) -> DownloadPlan:
        """Return the plan with each file at ``base/path``, or else at ``base/name``."""
        base = base.rstrip("/")
        moved = tuple(
            replace(file, urls=tuple(dict.fromkeys((f"{base}/{file.path}", f"{base}/{file.name}"))))
            for file in self.files
        )
        return replace(self, files=moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """One file to bring into one folder."""

    file: RemoteFile
    folder: Path
    any_content: bool = False
    """Accept bytes that differ from the published size and checksum."""
    progress: Progress = lambda _done: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A complete file on disk, and what its bytes are."""

    name: str
    url: str
    bytes: int
    sha256: str
    verified: bool
    """The bytes match the checksum that the publisher states."""
    resumed: bool = False
    """Part of the bytes came from an earlier, interrupted run."""


class Fetcher(Protocol):
    """Brings one file, whole and checked, or raises ``DownloadError``."""

    def fetch(self, request: FetchRequest) -> Fetched:
        """Return when the file has its final name and is durable."""
        ...


NO_CONTEXT = DownloadContext()


class Downloader(Protocol):
    """One data set: what it consists of, and how its files are brought."""

    @property
    def entry(self) -> DatasetEntry:
        """What a person should know."""
        ...

    def plan(self, splits: Sequence[str], context: DownloadContext = NO_CONTEXT) -> DownloadPlan:
        """Return the files of ``splits``, or of the default ones when empty.

        Without a context there is no I/O.
        """
        ...

    def fetch(self, request: FetchRequest, fetcher: Fetcher) -> Fetched:
        """Bring one file of a plan. Here a data set does what only it needs, then delegates."""
        ...
