"""SA-V: tars of videos and of frames, by the publisher's list of links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from downloaders.base import (
    NO_CONTEXT,
    DatasetEntry,
    DownloadContext,
    DownloadPlan,
    Fetched,
    Fetcher,
    FetchRequest,
    RemoteFile,
    SplitFacts,
)
from downloaders.links import LinkListDownloader

_CHECKSUMS = {"sav_sha256sum.chk": "sha256", "sav_md5sum.chk": "md5"}
"""Files in the form of ``sha256sum``; the first that is there and lists a tar counts."""
_LINE = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{64})[ \t]+\*?(\S+)")
_TRAIN_TARS = 56
_DOWNLOADS = "https://ai.meta.com/datasets/segment-anything-video-downloads/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavDownloader:
    """A list of links, with checksums that come as files of that list; see ``Downloader``."""

    listed: LinkListDownloader

    @property
    def entry(self) -> DatasetEntry:
        """See ``Downloader.entry``."""
        return self.listed.entry

    def plan(self, splits: Sequence[str], context: DownloadContext = NO_CONTEXT) -> DownloadPlan:
        """Return the listed files, checksums first; see ``Downloader.plan``."""
        return self.listed.plan(splits, context)

    def fetch(self, request: FetchRequest, fetcher: Fetcher) -> Fetched:
        """Fetch a file, checked against the published checksum if that has come already."""
        checksum = published_checksum(request.folder, request.file.name)
        return fetcher.fetch(replace(request, file=replace(request.file, checksum=checksum)))


def published_checksum(folder: Path, name: str) -> str | None:
    """Return ``algorithm:hex`` of a file by the checksum files in ``folder``, None if they lack it.

    >>> published_checksum(Path("nowhere"), "sav_000.tar")
    """
    for checksums, algorithm in _CHECKSUMS.items():
        path = folder / checksums
        if name in _CHECKSUMS or not path.is_file():
            continue
        for line in path.read_text("utf-8", "replace").splitlines():
            found = _LINE.fullmatch(line.strip())
            if found is not None and found[2].rpartition("/")[2] == name:
                return f"{algorithm}:{found[1].lower()}"
    return None


def _tar(name: str, split: str) -> RemoteFile:
    return RemoteFile(name=name, path=name, urls=(), kind="tar", splits=(split,))


def _checksums(name: str) -> RemoteFile:
    splits = ("train", "val", "test")
    return RemoteFile(name=name, path=name, urls=(), kind="text", splits=splits)


SAV = SavDownloader(
    listed=LinkListDownloader(
        entry=DatasetEntry(
            name="sa-v",
            title="SA-V",
            about="Everyday videos at 24 fps; masks of anything on every fourth frame, "
            "by people and by SAM 2, without categories.",
            media="video",
            licence="CC BY 4.0",
            homepage="https://ai.meta.com/datasets/segment-anything-video/",
            cite="Ravi et al., SAM 2: Segment Anything in Images and Videos, arXiv:2408.00714",
            splits=(
                SplitFacts(name="train", clips=50583, objects=642036, about="videos in 56 tars"),
                SplitFacts(name="val", clips=155, objects=293),
                SplitFacts(name="test", clips=150, objects=278),
            ),
            to_do=f"Accept the licence at {_DOWNLOADS} and save the list of links (file_name, "
            "cdn_link). The links expire after some days. The list may be cut to the tars that "
            "you want; keep the rows of the .chk files. Then add --links FILE.",
            must_accept=True,
            needs_links=True,
        ),
        files=(
            *map(_checksums, _CHECKSUMS),
            *(_tar(f"sav_{number:03d}.tar", "train") for number in range(_TRAIN_TARS)),
            _tar("sav_val.tar", "val"),
            _tar("sav_test.tar", "test"),
        ),
    )
)
