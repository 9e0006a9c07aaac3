"""YouTube-VOS 2018 and 2019: the same training clips, other clips in valid."""

from __future__ import annotations

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts, Unpacked
from downloaders.file_list import FileListDownloader

_FIRST_MASKS = "a mask where an object appears first"
_ALL_FRAMES = "at 30 fps, annotated every fifth frame"
_TO_DO = (
    "Google Drive limits how often these files are fetched: when it refuses, get them in a "
    "browser, from there or after registering on https://youtube-vos.org, and give the folder "
    "by --from."
)


def _archive(folder: str, drive_id: str, *splits: str, dataset: str | None = None) -> RemoteFile:
    name = f"{folder}.zip"
    return RemoteFile(
        name=name,
        path=name,
        urls=(f"gdrive://{drive_id}",),
        kind="zip",
        splits=splits,
        unpacked=Unpacked(top=folder),
        dataset=dataset,
    )


def _train(dataset: str | None) -> tuple[RemoteFile, RemoteFile]:
    """Return the archives of the training clips, which both versions share, in a raw folder."""
    return (
        _archive(
            "train",
            "13Eqw0gVK-AO5B-cqvJ203mZ2vzWck9s4",
            "train",
            "train_all_frames",
            dataset=dataset,
        ),
        _archive(
            "train_all_frames",
            "1eRO0rQjO6gEh0T9Ua5REfbreFCNY7cfq",
            "train_all_frames",
            dataset=dataset,
        ),
    )


def _entry(year: int, *splits: SplitFacts) -> DatasetEntry:
    return DatasetEntry(
        name=f"youtube-vos-{year}",
        title=f"YouTube-VOS {year}",
        about="Clips at 6 fps with named objects; an indexed PNG per frame of train.",
        media="video",
        licence="Annotations CC BY 4.0; the videos remain those of their uploaders",
        homepage="https://youtube-vos.org",
        cite="Xu et al., YouTube-VOS: A Large-Scale Video Object Segmentation Benchmark, "
        "arXiv:1809.03327",
        splits=splits,
        to_do=_TO_DO,
    )


YOUTUBE_VOS_2018 = FileListDownloader(
    entry=_entry(
        2018,
        SplitFacts(name="train", clips=3471, verified=True, about="6459 objects"),
        SplitFacts(name="valid", clips=474, about=_FIRST_MASKS),
        SplitFacts(name="train_all_frames", clips=3471, about=_ALL_FRAMES, by_default=False),
        SplitFacts(name="valid_all_frames", clips=474, about=_ALL_FRAMES, by_default=False),
    ),
    files=(
        *_train("youtube-vos-2019"),
        _archive("valid", "1-QrceIl5sUNTKz7Iq0UsWC6NLZq7girr", "valid", "valid_all_frames"),
        _archive("valid_all_frames", "1yVoHM6zgdcL348cFpolFcEl4IC1gorbV", "valid_all_frames"),
    ),
)

YOUTUBE_VOS_2019 = FileListDownloader(
    entry=_entry(
        2019,
        SplitFacts(name="train", clips=3471, verified=True, about="6459 objects"),
        SplitFacts(name="valid", clips=507, objects=1063, about=_FIRST_MASKS),
        SplitFacts(name="test", clips=541, about=_FIRST_MASKS, by_default=False),
        SplitFacts(name="train_all_frames", clips=3471, about=_ALL_FRAMES, by_default=False),
        SplitFacts(name="valid_all_frames", clips=507, about=_ALL_FRAMES, by_default=False),
        SplitFacts(name="test_all_frames", clips=541, about=_ALL_FRAMES, by_default=False),
    ),
    files=(
        *_train(None),
        _archive("valid", "1o586Wjya-f2ohxYf9C1RlRH-gkrzGS8t", "valid", "valid_all_frames"),
        _archive("test", "1S50D-vwOKrmTJNh6VDfXhj8L0jkrNA6V", "test", "test_all_frames"),
        _archive("valid_all_frames", "1rWQzZcMskgpEQOZdJPJ7eTmLCBEIIpEN", "valid_all_frames"),
        _archive("test_all_frames", "1WAc-AyR2vQ6UpOv8iw1p1MoBry-D8Rav", "test_all_frames"),
    ),
)
