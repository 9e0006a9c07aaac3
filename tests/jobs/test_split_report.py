from __future__ import annotations

from pathlib import Path

from pipelines.engine.executor import LocalExecutor
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.jobs.split_report import describe_split
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.registry import open_splits
from pipelines.store.local import LocalObjectStore
from schemas.reports import CountSpread, SizeSpread, SplitReport
from tests.engine.stages import Heard
from tests.normalize.archives import CocoSource, DavisSource, jpeg


def report_of(root: Path, dataset: str, archives: Path, rows_per_shard: int) -> SplitReport:
    store = LocalObjectStore(root)
    split = "val2017" if dataset == "coco" else "val"
    (normalizer,) = open_splits(dataset, [split], archives, LayoutOptions(), downloaded=False)
    stage = NormalizeStage(store, normalizer, rows_per_shard=rows_per_shard)
    record = NormalizeJob(stage, Budget(rows=9)).run(LocalExecutor(), Heard())
    described = describe_split(store, record)
    stored = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    unlisted = [path for path in root.rglob("*.json") if path.name != "report.json"]
    assert described.bytes == stored - sum(path.stat().st_size for path in unlisted)
    assert described.report is not None
    return described.report


def test_stills_of_several_shards(tmp_path: Path) -> None:
    source = CocoSource()
    source.images["000000000030.jpg"] = jpeg(40, 16)
    source.instances["images"][2] |= {"width": 40}
    del source.images["000000000025.jpg"]
    archives = source.write(tmp_path / "coco")
    assert report_of(tmp_path / "root", "coco", archives, 2) == SplitReport(
        dataset="coco",
        split="val2017",
        images=3,
        without_objects=1,
        sizes=SizeSpread(smallest=(20, 16), median=(20, 16), largest=(40, 16)),
        objects_per_image=CountSpread(minimum=0, median=1, maximum=2),
        categories={"dog": 1, "person": 2},
        quarantined={"missing": 1},
    )


def test_shards_do_not_change_it(tmp_path: Path) -> None:
    archives = CocoSource().write(tmp_path / "coco")
    reports = [report_of(tmp_path / str(rows), "coco", archives, rows) for rows in (1, 9)]
    assert reports[0] == reports[1]


def test_frames_of_clips_are_images(tmp_path: Path) -> None:
    archives = DavisSource().write(tmp_path / "davis")
    report = report_of(tmp_path / "root", "davis", archives, 2)
    assert report.images == 6
    assert report.sizes == SizeSpread(smallest=(24, 12), median=(24, 12), largest=(26, 12))
    assert report.categories == {}
