"""LVIS v1: 1203 categories on images of COCO, which stay in COCO's own archives."""

from __future__ import annotations

from dataclasses import replace

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts
from downloaders.coco import COCO
from downloaders.file_list import FileListDownloader

_MIRRORS = (
    "https://dl.fbaipublicfiles.com/LVIS",
    "https://s3-us-west-2.amazonaws.com/dl.fbaipublicfiles.com/LVIS",
)


def _annotations(name: str, size: int, checksum: str, split: str, *urls: str) -> RemoteFile:
    return RemoteFile(
        name=name,
        path=name,
        urls=urls or tuple(f"{mirror}/{name}" for mirror in _MIRRORS),
        kind="zip",
        splits=(split,),
        bytes=size,
        checksum=f"sha256:{checksum}",
    )


def _images(name: str, *splits: str) -> RemoteFile:
    """Return an archive of COCO, which stays in COCO's own folder of archives."""
    (file,) = (file for file in COCO.files if file.name == name)
    return replace(file, dataset=COCO.entry.name, splits=splits)


LVIS = FileListDownloader(
    entry=DatasetEntry(
        name="lvis",
        title="LVIS v1",
        about="COCO's images; 1203 categories with synonyms, polygons; each image is annotated for "
        "some of the categories and says which are absent.",
        media="image",
        licence="Annotations CC BY 4.0; each image keeps its Flickr licence (see COCO)",
        homepage="https://www.lvisdataset.org",
        cite="Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019, "
        "arXiv:1908.03195",
        splits=(
            SplitFacts(name="train", images=100170, objects=1270141),
            SplitFacts(
                name="val",
                images=19809,
                objects=244707,
                about="most of its images are in COCO's train2017",
            ),
            SplitFacts(
                name="minival",
                about="those of val that are in COCO's val2017; made by others",
                by_default=False,
            ),
            SplitFacts(name="test-dev", images=19822, about="images only", by_default=False),
        ),
        to_do="",
    ),
    files=(
        _annotations(
            "lvis_v1_train.json.zip",
            350264821,
            "334a4caa374030a7817cf050364525e910f7960f9b6968cef47cffbf3893f8ba",
            "train",
        ),
        _annotations(
            "lvis_v1_val.json.zip",
            64026968,
            "5cae9a3c79aadb667550c2b5dcf7f4d86e059a41ec91ef690225b667e28e9ba5",
            "val",
        ),
        _annotations(
            "lvis_v1_minival.zip",
            1587847,
            "13b6a7121a1d9716490b1e2778c4866d640e9059b01de5ca1277fdda7f70967d",
            "minival",
            "https://nyu.box.com/shared/static/2yk9x8az9pnlsy2v8gd95yncwn2q7vj6.zip",
        ),
        _annotations(
            "lvis_v1_image_info_test_dev.json.zip",
            384629,
            "bbe4880cef768f3c14ea903d31dcce9db24916cf9e9f1f76d1a022120f47254b",
            "test-dev",
        ),
        _images("val2017.zip", "val", "minival"),
        _images("train2017.zip", "train", "val"),
        _images("test2017.zip", "test-dev"),
    ),
)
