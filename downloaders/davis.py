"""DAVIS 2017, semi-supervised, train and val at 480p: clips with object masks on every frame."""

from __future__ import annotations

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts, Unpacked
from downloaders.file_list import FileListDownloader

_NAME = "DAVIS-2017-trainval-480p.zip"

DAVIS = FileListDownloader(
    entry=DatasetEntry(
        name="davis",
        title="DAVIS 2017 (trainval, 480p)",
        about="Short clips at 24 fps; an indexed PNG per frame, one index per object, 255 = void.",
        media="video",
        licence="Not stated for the data; the evaluation code is BSD 3-Clause",
        homepage="https://davischallenge.org",
        cite="Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, "
        "arXiv:1704.00675",
        splits=(
            SplitFacts(name="train", clips=60, objects=144),
            SplitFacts(name="val", clips=30, images=1999, objects=61),
        ),
        to_do="",
    ),
    files=(
        RemoteFile(
            name=_NAME,
            path=_NAME,
            urls=(
                f"https://data.vision.ee.ethz.ch/csergi/share/davis/{_NAME}",
                f"https://data.vision.ee.ethz.ch/jpont/davis/{_NAME}",
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
    ),
)
