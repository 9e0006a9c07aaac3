"""LVOS v1 and v2: long clips. The second version holds many clips of the first."""

from __future__ import annotations

import re

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts, Unpacked
from downloaders.drive_list import DriveListDownloader

_FIRST_MASKS = "a mask where an object appears first"
_META = re.compile(r"(train|val|valid|test)_(?:meta|expression_meta|meta_attribute)\.json")


def _split_of(name: str) -> str | None:
    """Return which split a file that names objects is of; the publisher writes val in two ways."""
    match = _META.fullmatch(name)
    return None if match is None else match[1].replace("valid", "val")


def _archive(
    split: str, drive_id: str, *, size: int | None = None, sha256: str | None = None
) -> RemoteFile:
    # The publisher names the split val, the folder in the archive and the archive itself valid.
    folder = "valid" if split == "val" else split
    return RemoteFile(
        name=f"{folder}.zip",
        path=f"{folder}.zip",
        urls=(f"gdrive://{drive_id}",),
        kind="zip",
        splits=(split,),
        bytes=size,
        checksum=sha256 and f"sha256:{sha256}",
        unpacked=Unpacked(top=folder),
    )


def _entry(version: int, cite: str, *splits: SplitFacts) -> DatasetEntry:
    return DatasetEntry(
        name=f"lvos-v{version}",
        title=f"LVOS v{version}",
        about="Long clips at 6 fps whose objects leave and return; an indexed PNG per frame.",
        media="video",
        licence="Annotations CC BY 4.0; frames for non-commercial research only",
        homepage="https://lingyihongfd.github.io/lvos.github.io/",
        cite=cite,
        splits=splits,
        to_do="Google Drive limits how often these files are fetched: when it refuses, get them "
        "in a browser and give the folder by --from.",
    )


LVOS_V1 = DriveListDownloader(
    entry=_entry(
        1,
        "Hong et al., LVOS: A Benchmark for Long-term Video Object Segmentation, ICCV 2023, "
        "arXiv:2211.10181",
        SplitFacts(name="train", clips=120),
        SplitFacts(name="val", clips=50),
        SplitFacts(name="test", clips=50, about=_FIRST_MASKS, by_default=False),
    ),
    files=(
        _archive("train", "1pdA1Y7-VE4coj6yacya-kolZs6hKuQpS"),
        _archive("val", "1msjV2AAKROc-UsXh8lUic2gQpsLKfjQ0"),
        _archive("test", "1zp8uqiby3o-2jSjZOqQx4ILh-LLqTz-0"),
    ),
    # Objects; captions of them.
    folders=("1fOwGggoYNm_GkZIxs68ptHLk4JNF4Ebq", "1cgIYoIXasw3nx_saYK_M8sb59rtwRFHe"),
    split_of=_split_of,
)

LVOS_V2 = DriveListDownloader(
    entry=_entry(
        2,
        "Hong et al., LVOS: A Benchmark for Large-scale Long-term Video Object Segmentation, "
        "arXiv:2404.19326",
        SplitFacts(name="train", clips=420, images=160452),
        SplitFacts(name="val", clips=140, images=66056),
        SplitFacts(name="test", clips=160, about=_FIRST_MASKS, by_default=False),
    ),
    files=(
        _archive(
            "train",
            "1-ehpl5s0Fd14WwtT-GmWtIWa_BxZl9D6",
            size=22414546249,
            sha256="e4c0cfcb400dbd103ddea6eac3b5ffb5cdd3d50cb87013bf457d963a0b248c0b",
        ),
        _archive(
            "val",
            "17Hwc__6i2rpF5e2s5OPqoywNxG5bzlcO",
            size=11833302254,
            sha256="beb488046f74e0cb4154a0cb2bcc2c79cae858da0693e5adabcf966a5712d4e2",
        ),
        _archive("test", "1Vp_y8dSUO4ktYmeBFkIQnmAxK6bl3Eyf"),
    ),
    folders=("1EtTW57QfSkUK3Jl1A_m9D120muA7NG4L",),
    split_of=_split_of,
)
