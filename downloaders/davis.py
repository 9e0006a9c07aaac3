"""DAVIS at 480p: 2017 semi-supervised and unsupervised, and 2016; each archive holds DAVIS/."""

from __future__ import annotations

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts, Unpacked
from downloaders.file_list import FileListDownloader

FIRST_MASK_SPLITS = ("test-dev", "test-challenge")
"""Splits of 2017 whose masks are published for the first frame only."""

_BASE = "https://data.vision.ee.ethz.ch/csergi/share/davis"
_LICENCE = "Not stated for the data; the evaluation code is BSD 3-Clause"
_HOMEPAGE = "https://davischallenge.org"
_FIRST_MASKS = "masks of the first frame only"
_CITE_2017 = (
    "Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, arXiv:1704.00675"
)
_CITE_UNSUPERVISED = (
    "Caelles et al., The 2019 DAVIS Challenge on VOS: Unsupervised Multi-Object Segmentation, "
    "arXiv:1905.00737"
)
_CITE_2016 = (
    "Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object "
    "Segmentation, CVPR 2016"
)


def _first_masks(split: str) -> RemoteFile:
    name = f"DAVIS-2017-{split}-480p.zip"
    return RemoteFile(
        name=name,
        path=name,
        urls=(f"{_BASE}/{name}",),
        kind="zip",
        splits=(split,),
        unpacked=Unpacked(
            top="DAVIS",
            holds=("JPEGImages/480p", "Annotations/480p", f"ImageSets/2017/{split}.txt"),
        ),
    )


DAVIS = FileListDownloader(
    entry=DatasetEntry(
        name="davis",
        title="DAVIS 2017 (semi-supervised, 480p)",
        about="Short clips at 24 fps; an indexed PNG per frame, one index per object, 255 = void.",
        media="video",
        licence=_LICENCE,
        homepage=_HOMEPAGE,
        cite=_CITE_2017,
        splits=(
            SplitFacts(name="train", clips=60, images=4209, verified=True, about="144 objects"),
            SplitFacts(name="val", clips=30, images=1999, verified=True, about="61 objects"),
            SplitFacts(name="test-dev", clips=30, about=_FIRST_MASKS, by_default=False),
            SplitFacts(name="test-challenge", clips=30, about=_FIRST_MASKS, by_default=False),
        ),
        to_do="",
    ),
    files=(
        RemoteFile(
            name="DAVIS-2017-trainval-480p.zip",
            path="DAVIS-2017-trainval-480p.zip",
            urls=(
                f"{_BASE}/DAVIS-2017-trainval-480p.zip",
                "https://data.vision.ee.ethz.ch/jpont/davis/DAVIS-2017-trainval-480p.zip",
                "gdrive://1kiaxrX_4GuW6NmiVuKGSGVoKGWjOdp6d",
            ),
            kind="zip",
            splits=("train", "val"),
            bytes=832766765,
            checksum="sha256:e3d0b5b77c3d031b000a19e0e25e3e2cac65d183755601bc2cf066df1a2aa492",
            unpacked=Unpacked(
                top="DAVIS",
                holds=("JPEGImages/480p", "Annotations/480p", "ImageSets/2017"),
            ),
        ),
        *map(_first_masks, FIRST_MASK_SPLITS),
    ),
)

DAVIS_UNSUPERVISED = FileListDownloader(
    entry=DatasetEntry(
        name="davis-unsupervised",
        title="DAVIS 2017 Unsupervised (trainval, 480p)",
        about="The clips of DAVIS 2017 with every salient object annotated anew, under other ids.",
        media="video",
        licence=_LICENCE,
        homepage=_HOMEPAGE,
        cite=_CITE_UNSUPERVISED,
        splits=(
            SplitFacts(name="train", clips=60, images=4209, verified=True),
            SplitFacts(name="val", clips=30, images=1999, verified=True),
        ),
        to_do="",
    ),
    files=(
        RemoteFile(
            name="DAVIS-2017-Unsupervised-trainval-480p.zip",
            path="DAVIS-2017-Unsupervised-trainval-480p.zip",
            urls=(f"{_BASE}/DAVIS-2017-Unsupervised-trainval-480p.zip",),
            kind="zip",
            splits=("train", "val"),
            unpacked=Unpacked(
                top="DAVIS",
                holds=("JPEGImages/480p", "Annotations_unsupervised/480p", "ImageSets/2017"),
            ),
        ),
    ),
)

DAVIS_2016 = FileListDownloader(
    entry=DatasetEntry(
        name="davis-2016",
        title="DAVIS 2016 (480p)",
        about="One object per clip, in binary masks where 255 is the object; 24 fps.",
        media="video",
        licence=_LICENCE,
        homepage=_HOMEPAGE,
        cite=_CITE_2016,
        splits=(
            SplitFacts(name="train", clips=30, objects=30),
            SplitFacts(name="val", clips=20, objects=20),
        ),
        to_do="",
    ),
    files=(
        # Published anew more than once, so no checksum is the right one.
        RemoteFile(
            name="DAVIS-data.zip",
            path="DAVIS-data.zip",
            urls=(
                "https://graphics.ethz.ch/Downloads/Data/Davis/DAVIS-data.zip",
                "gdrive://198aRlh5CpAoFz0hfRgYbiNenn_K8DxWD",
            ),
            kind="zip",
            splits=("train", "val"),
            unpacked=Unpacked(
                top="DAVIS",
                holds=("JPEGImages/480p", "Annotations/480p", "ImageSets/480p"),
            ),
        ),
    ),
)
