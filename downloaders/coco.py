"""COCO 2017: stills with polygons, boxes and captions."""

from __future__ import annotations

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts, Unpacked
from downloaders.file_list import FileListDownloader

# The certificate of https://images.cocodataset.org does not match its name, so plain http comes
# first (the checksums make it safe) and the same bucket over https second.
_MIRRORS = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")


def _archive(
    path: str, top: str, size: int | None, checksum: str | None, *splits: str
) -> RemoteFile:
    return RemoteFile(
        name=path.rpartition("/")[2],
        path=path,
        urls=tuple(f"{mirror}/{path}" for mirror in _MIRRORS),
        kind="zip",
        splits=splits,
        bytes=size,
        checksum=checksum,
        unpacked=Unpacked(top=top),
    )


COCO = FileListDownloader(
    entry=DatasetEntry(
        name="coco",
        title="COCO 2017",
        about="Everyday scenes; 80 categories, a polygon or RLE per object, five captions each.",
        media="image",
        licence="Annotations CC BY 4.0; each image keeps its Flickr licence (in the annotations)",
        homepage="https://cocodataset.org",
        cite="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, arXiv:1405.0312",
        splits=(
            SplitFacts(name="train2017", images=118287, objects=860001),
            SplitFacts(name="val2017", images=5000, objects=36781),
            SplitFacts(name="test2017", images=40670, about="images only", by_default=False),
            SplitFacts(name="unlabeled2017", images=123403, about="images only", by_default=False),
            SplitFacts(name="stuff_train2017", about="regions, not objects", by_default=False),
            SplitFacts(name="stuff_val2017", about="regions, not objects", by_default=False),
        ),
        to_do="",
    ),
    files=(
        _archive(
            "annotations/annotations_trainval2017.zip",
            "annotations",
            252907541,
            "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            "train2017",
            "val2017",
        ),
        _archive(
            "zips/val2017.zip",
            "val2017",
            815585330,
            "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            "val2017",
            "stuff_val2017",
        ),
        _archive(
            "zips/train2017.zip",
            "train2017",
            19336861798,
            "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            "train2017",
            "stuff_train2017",
        ),
        _archive(
            "annotations/stuff_annotations_trainval2017.zip",
            "annotations",
            None,
            None,
            "stuff_train2017",
            "stuff_val2017",
        ),
        _archive(
            "annotations/image_info_test2017.zip",
            "annotations",
            1144034,
            "sha256:e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8",
            "test2017",
        ),
        _archive(
            "zips/test2017.zip",
            "test2017",
            6646970404,
            "sha256:c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba",
            "test2017",
        ),
        _archive(
            "annotations/image_info_unlabeled2017.zip",
            "annotations",
            None,
            "md5:ede38355d5c3e5251bb7f8b68e2c068f",
            "unlabeled2017",
        ),
        _archive(
            "zips/unlabeled2017.zip",
            "unlabeled2017",
            None,
            "md5:7ebc562819fdb32847aab79530457326",
            "unlabeled2017",
        ),
    ),
)
