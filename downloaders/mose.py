"""MOSE v1 and v2: crowded scenes, objects that hide and return. From the publisher's hub."""

from __future__ import annotations

from downloaders.base import DatasetEntry, FileKind, RemoteFile, SplitFacts, Unpacked
from downloaders.file_list import FileListDownloader

_FIRST_MASKS = "masks of the first frame only"
_V1, _V2 = "FudanCVL/MOSE", "FudanCVL/MOSEv2"


def _file(
    repository: str,
    name: str,
    split: str,
    *,
    kind: FileKind = "gzip",
    checksum: str | None = None,
    unpacked: Unpacked | None = None,
) -> RemoteFile:
    return RemoteFile(
        name=name,
        path=name,
        urls=(f"hf://datasets/{repository}@main/{name}",),
        kind=kind,
        splits=(split,),
        checksum=checksum,
        unpacked=unpacked,
    )


def _entry(version: int, licence: str, cite: str, *splits: SplitFacts) -> DatasetEntry:
    return DatasetEntry(
        name=f"mose-v{version}",
        title=f"MOSE v{version}",
        about="Crowded scenes with occlusion; an indexed PNG per frame of train.",
        media="video",
        licence=licence,
        homepage="https://mose.video",
        cite=cite,
        splits=splits,
        to_do="If the hub answers 401 or 403: accept the conditions on the page of the data set, "
        "and set HF_TOKEN.",
    )


MOSE_V1 = FileListDownloader(
    entry=_entry(
        1,
        "CC BY-NC-SA 4.0, non-commercial research only",
        "Ding et al., MOSE: A New Dataset for Video Object Segmentation in Complex Scenes, "
        "ICCV 2023, arXiv:2302.01872",
        SplitFacts(name="train", clips=1507, verified=True),
        SplitFacts(name="valid", clips=311, about=_FIRST_MASKS),
    ),
    files=(
        # The archive of train was published anew after its checksum was.
        _file(_V1, "train.tar.gz", "train", unpacked=Unpacked(top="train")),
        _file(
            _V1,
            "valid.tar.gz",
            "valid",
            checksum="sha256:884baecf7d7e85cd35486e45d6c474dc34352a227ac75c49f6d5e4afb61b331c",
            unpacked=Unpacked(top="valid"),
        ),
    ),
)

MOSE_V2 = FileListDownloader(
    entry=_entry(
        2,
        "CC BY-NC-SA 4.0, non-commercial research only (its page on the hub says CC BY-SA 4.0)",
        "Ding et al., MOSEv2: A More Challenging Dataset for Video Object Segmentation in Complex "
        "Scenes, arXiv:2508.05630",
        SplitFacts(name="train", clips=3666, images=311843),
        SplitFacts(name="valid", clips=433, about=_FIRST_MASKS),
    ),
    files=(
        _file(_V2, "train.tar.gz.aa", "train"),
        _file(_V2, "train.tar.gz.ab", "train", kind="part"),
        _file(_V2, "train.tar.gz.ac", "train", kind="part"),
        _file(_V2, "meta_valid.json", "valid", kind="json"),
        _file(_V2, "valid.tar.gz", "valid", unpacked=Unpacked(top="valid")),
    ),
)
