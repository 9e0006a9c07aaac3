"""SA-1B: a thousand tar archives of images, each with its masks; links by the publisher's list."""

from __future__ import annotations

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts
from downloaders.links import LinkListDownloader

_ARCHIVES = 1000


def _archive(number: int) -> RemoteFile:
    name = f"sa_{number:06d}.tar"
    return RemoteFile(name=name, path=name, urls=(), kind="tar", splits=("train", "val"))


# The published list also has sa_images_ids.txt, and sa_co_gold.tar of another data set.
SA_1B = LinkListDownloader(
    entry=DatasetEntry(
        name="sa-1b",
        title="SA-1B",
        about="11 million photographs with a hundred masks each, without categories.",
        media="image",
        licence="SA-1B Dataset Research License: research only",
        homepage="https://ai.meta.com/datasets/segment-anything/",
        cite="Kirillov et al., Segment Anything, ICCV 2023, arXiv:2304.02643",
        splits=(
            SplitFacts(name="train", about="99.9 % of the images, by the hash of their name"),
            SplitFacts(name="val", about="the others: our split, SA-1B has none"),
        ),
        to_do="Accept the licence at https://ai.meta.com/datasets/segment-anything-downloads/ and "
        "save the list of links (file_name, cdn_link). The links expire after some days. The list "
        "may be cut to the archives that you want, about 11 GB each. Then add --links FILE.",
        must_accept=True,
        needs_links=True,
    ),
    files=tuple(_archive(number) for number in range(_ARCHIVES)),
)
