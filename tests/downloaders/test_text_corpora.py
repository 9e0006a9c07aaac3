from __future__ import annotations

from typing import ClassVar

import pytest

from downloaders.base import Downloader
from downloaders.text_corpora import (
    RECAP_COCO,
    RECAP_DATACOMP,
    SACAP,
    SACO_GOLD,
    SACO_SILVER,
    SACO_VEVAL,
)
from tests.contracts.downloader_contract import DownloaderContract


class TestGold(DownloaderContract):
    downloader: ClassVar[Downloader] = SACO_GOLD

    def test_three_people_annotated_seven_subsets(self) -> None:
        names = {file.name for file in SACO_GOLD.files}
        assert len(names) == 21
        assert "gold_fg_sports_equipment_merged_c_release_test.json" in names


class TestSilver(DownloaderContract):
    downloader: ClassVar[Downloader] = SACO_SILVER

    def test_one_of_ten_names_breaks_the_rule(self) -> None:
        names = [file.name for file in SACO_SILVER.files]
        assert len(names) == 10
        assert [name for name in names if "_merged" not in name] == ["silver_fathomnet_test.json"]


class TestVeval(DownloaderContract):
    downloader: ClassVar[Downloader] = SACO_VEVAL

    def test_every_split_is_marked(self) -> None:
        assert {split.about for split in SACO_VEVAL.entry.splits} == {"evaluation only"}
        assert "leaks" in SACO_VEVAL.entry.about


class TestRecapCoco(DownloaderContract):
    downloader: ClassVar[Downloader] = RECAP_COCO


class TestSacap(DownloaderContract):
    downloader: ClassVar[Downloader] = SACAP

    def test_the_large_file_is_not_needed_for_test(self) -> None:
        assert [file.name for file in SACAP.plan(["test"]).files] == ["anno_test.parquet"]


def test_nothing_of_recap_datacomp_is_downloaded_and_the_user_is_told() -> None:
    assert RECAP_DATACOMP.plan([]).files == ()
    assert "--limit N" in RECAP_DATACOMP.entry.to_do


@pytest.mark.parametrize("downloader", [SACO_GOLD, SACO_SILVER, SACO_VEVAL, RECAP_COCO, SACAP])
def test_text_features_suit_them_and_they_come_from_the_hub(downloader: Downloader) -> None:
    assert downloader.entry.media == "text"
    assert downloader.entry.suitable_features == ("text",)
    for file in downloader.plan([]).files:
        assert file.urls[0].startswith("hf://datasets/")
