from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from downloaders.base import Downloader
from downloaders.davis import DAVIS, DAVIS_2016, DAVIS_UNSUPERVISED
from downloaders.file_list import FileListDownloader
from downloaders.local import find_unpacked
from downloaders.lvos import LVOS_V1, LVOS_V2
from downloaders.mose import MOSE_V1, MOSE_V2
from downloaders.youtube_vos import YOUTUBE_VOS_2018, YOUTUBE_VOS_2019
from tests.contracts.downloader_contract import DownloaderContract


class TestDavis2016(DownloaderContract):
    downloader: ClassVar[Downloader] = DAVIS_2016


class TestDavisUnsupervised(DownloaderContract):
    downloader: ClassVar[Downloader] = DAVIS_UNSUPERVISED


class TestLvosV1(DownloaderContract):
    downloader: ClassVar[Downloader] = LVOS_V1


class TestLvosV2(DownloaderContract):
    downloader: ClassVar[Downloader] = LVOS_V2

    def test_test_is_not_fetched_unasked(self) -> None:
        assert [file.name for file in LVOS_V2.plan([]).files] == ["train.zip", "valid.zip"]
        assert LVOS_V2.plan([]).total_bytes == 22414546249 + 11833302254


class TestMoseV1(DownloaderContract):
    downloader: ClassVar[Downloader] = MOSE_V1


class TestMoseV2(DownloaderContract):
    downloader: ClassVar[Downloader] = MOSE_V2

    def test_train_comes_in_parts_in_their_order(self) -> None:
        files = MOSE_V2.plan(["train"]).files
        assert [(file.name[-3:], file.kind) for file in files] == [
            (".aa", "gzip"),
            (".ab", "part"),
            (".ac", "part"),
        ]


class TestYouTubeVos2018(DownloaderContract):
    downloader: ClassVar[Downloader] = YOUTUBE_VOS_2018

    def test_the_training_clips_are_those_of_2019(self) -> None:
        (file,) = YOUTUBE_VOS_2018.plan(["train"]).files
        assert file.dataset == "youtube-vos-2019"
        assert file.urls == YOUTUBE_VOS_2019.plan(["train"]).files[0].urls


class TestYouTubeVos2019(DownloaderContract):
    downloader: ClassVar[Downloader] = YOUTUBE_VOS_2019

    def test_all_frames_need_the_annotations_of_the_sparse_ones(self) -> None:
        files = YOUTUBE_VOS_2019.plan(["valid_all_frames"]).files
        assert [file.name for file in files] == ["valid.zip", "valid_all_frames.zip"]
        assert all("all_frames" not in file.name for file in YOUTUBE_VOS_2019.plan([]).files)


@pytest.mark.parametrize("downloader", [DAVIS, DAVIS_2016, DAVIS_UNSUPERVISED])
def test_an_unpacked_davis_is_not_taken_for_another(
    tmp_path: Path, downloader: FileListDownloader
) -> None:
    folders = {
        DAVIS: ("JPEGImages/480p", "Annotations/480p", "ImageSets/2017"),
        DAVIS_2016: ("JPEGImages/480p", "Annotations/480p", "ImageSets/480p"),
        DAVIS_UNSUPERVISED: (
            "JPEGImages/480p",
            "Annotations_unsupervised/480p",
            "ImageSets/2017",
        ),
    }
    for folder in folders[downloader]:
        (tmp_path / "DAVIS" / folder).mkdir(parents=True)
    fitting = [
        known
        for known in folders
        if find_unpacked(known.plan(["train"]).files[0], tmp_path) is not None
    ]
    assert fitting == [downloader]


def test_the_folder_of_one_split_is_not_taken_for_another(tmp_path: Path) -> None:
    (tmp_path / "train" / "JPEGImages").mkdir(parents=True)
    train, valid = YOUTUBE_VOS_2019.plan([]).files
    assert find_unpacked(train, tmp_path) == tmp_path / "train"
    assert find_unpacked(valid, tmp_path) is None
    assert find_unpacked(valid, tmp_path / "train") is None
