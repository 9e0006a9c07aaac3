from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import pytest

from downloaders.base import Downloader
from downloaders.coco import COCO
from downloaders.davis import DAVIS
from downloaders.lvis import LVIS
from downloaders.registry import DATASETS, find_dataset, transport_name
from schemas.errors import UnknownNameError, UsageError
from tests.contracts.downloader_contract import DownloaderContract


class TestCoco(DownloaderContract):
    downloader: ClassVar[Downloader] = COCO

    def test_val_needs_no_training_images(self) -> None:
        names = [file.name for file in COCO.plan(["val2017"]).files]
        assert names == ["annotations_trainval2017.zip", "val2017.zip"]

    def test_annotations_come_before_images(self) -> None:
        assert "annotations" in COCO.plan([]).files[0].name

    def test_sizes_that_nobody_states_are_counted_apart(self) -> None:
        plan = COCO.plan(["val2017", "unlabeled2017"])
        assert plan.unknown_sizes == 2
        assert plan.total_bytes == 252907541 + 815585330


class TestDavis(DownloaderContract):
    downloader: ClassVar[Downloader] = DAVIS

    def test_both_splits_are_one_archive(self) -> None:
        assert DAVIS.plan(["train"]).files == DAVIS.plan(["val"]).files


class TestLvis(DownloaderContract):
    downloader: ClassVar[Downloader] = LVIS

    def test_val_has_images_of_both_splits_of_coco_and_keeps_them_there(self) -> None:
        files = {file.name: file.dataset for file in LVIS.plan(["val"]).files}
        assert files == {
            "lvis_v1_val.json.zip": None, "train2017.zip": "coco", "val2017.zip": "coco",
        }  # fmt: skip


def test_names_are_those_of_the_entries() -> None:
    for name in DATASETS:
        assert find_dataset(name).entry.name == name


@pytest.mark.parametrize(("name", "hint"), [("cocoo", "Did you mean coco"), ("x", "Known: coco")])
def test_unknown_data_set_is_one_line_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError) as raised:
        find_dataset(name)
    assert str(raised.value).startswith(f"unknown data set '{name}'. {hint}")


def test_schemes_share_a_transport_and_unknown_ones_are_refused() -> None:
    assert transport_name("http://a/b") == transport_name("https://a/b")
    with pytest.raises(UsageError, match="'ftp'"):
        transport_name("ftp://host/file")


def test_planning_does_not_import_an_http_client() -> None:
    code = (
        "import sys; from downloaders.registry import find_dataset;"
        "find_dataset('coco').plan([]); sys.exit('urllib3' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
