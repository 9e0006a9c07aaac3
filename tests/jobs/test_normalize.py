from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import webdataset

from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.engine.work import UnitReport
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.registry import open_splits
from pipelines.normalize.subset import KeyList, take_subset
from pipelines.store.commits import read_commit
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from schemas.errors import BudgetError, ConflictError, StorageError, UsageError
from schemas.ids import digest_bytes
from schemas.manifests import SplitRecord
from schemas.tables import CATEGORIES, PHRASES
from schemas.videos import object_frames
from tests.normalize.archives import CocoSource, DavisSource, jpeg
from tests.normalize.lvis_source import LvisSource


def stage_of(
    root: Path, source: Path, dataset: str = "coco", rows: int = 3, **options: Any
) -> NormalizeStage:
    split = {"coco": "val2017", "davis": "val"}[dataset]
    layout = LayoutOptions(**options)
    (normalizer,) = open_splits(dataset, [split], source, layout, downloaded=False)
    return NormalizeStage(LocalObjectStore(root), normalizer, rows_per_shard=rows, threads=2)


def run(stage: NormalizeStage, budget: str = "1%") -> SplitRecord:
    job = NormalizeJob(stage, Budget.parse(budget))
    return job.run(LocalExecutor(), Progress(len(stage.units)))


def contents(root: Path) -> dict[str, bytes]:
    """Return every file below ``root``, hidden ones too."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return CocoSource().write(tmp_path / "coco")


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    return DavisSource().write(tmp_path / "davis")


def test_a_split_of_stills(tmp_path: Path, coco: Path) -> None:
    record = run(stage_of(tmp_path / "root", coco))
    assert (record.shards, record.rows, record.rows_per_shard) == (2, 4, 3)
    assert record.counts == {
        "images": 4,
        "annotations": 4,
        "objects": 4,
        "crowd": 1,
        "captions": 3,
        "zero_area": 0,
    }
    assert (record.quarantined, record.object_frames_per_shard) == ({}, 0)
    split = Split.open(LocalObjectStore(tmp_path / "root"), "coco", "val2017")
    assert split.phrases == ["A person and a dog.", "Two friends.", "dog", "person"]
    assert split.annotations_table(0).column("object_id").to_pylist() == [1, 3, 2]
    assert [sample.key for sample in split.samples(1)] == ["000000000042"]


def test_phrases_count_objects_and_captions_apart(tmp_path: Path, coco: Path) -> None:
    run(stage_of(tmp_path / "root", coco))
    store = LocalObjectStore(tmp_path / "root")
    table = read_table(store, "normalized/coco/val2017/phrases.parquet", PHRASES)
    assert [tuple(row.values())[:4] for row in table.to_pylist()] == [
        (0, "A person and a dog.", 0, 1),
        (1, "Two friends.", 0, 2),
        (2, "dog", 1, 0),
        (3, "person", 3, 0),
    ]


def test_a_split_of_clips(tmp_path: Path, davis: Path) -> None:
    record = run(stage_of(tmp_path / "root", davis, "davis"))
    # The longest clip has four frames, and is not cut.
    assert (record.shards, record.rows, record.rows_per_shard) == (2, 6, 4)
    split = Split.open(LocalObjectStore(tmp_path / "root"), "davis", "val")
    per_shard = [
        len(object_frames(clip.clip, len(clip.frames), clip.prompts))
        for shard in range(record.shards)
        for clip in split.clips(shard)
    ]
    assert per_shard == [2, 4 + 3]
    assert record.object_frames_per_shard == 7
    assert record.counts == {
        "clips": 2,
        "frames": 6,
        "annotations": 10,
        "objects": 3,
        "crowd": 0,
        "captions": 0,
        "empty_masks": 4,
        "object_frames": 9,
    }


def test_bytes_are_as_published_at_the_recorded_offsets(tmp_path: Path, coco: Path) -> None:
    run(stage_of(tmp_path / "root", coco))
    split = Split.open(LocalObjectStore(tmp_path / "root"), "coco", "val2017")
    images = CocoSource().images
    for shard in (0, 1):
        for sample in split.samples(shard):
            assert split.read_image(shard, sample) == images[f"{sample.key}.jpg"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_webdataset_opens_the_tars(tmp_path: Path, coco: Path, davis: Path) -> None:
    run(stage_of(tmp_path / "root", coco))
    run(stage_of(tmp_path / "root", davis, "davis"))
    normalized = tmp_path / "root" / "normalized"

    def read(path: str) -> list[dict[str, Any]]:
        return list(webdataset.WebDataset(str(normalized / path), shardshuffle=False))

    stills = read("coco/val2017/media-00000.tar")
    assert [sample["__key__"] for sample in stills] == [f"{n:012d}" for n in (9, 25, 30)]
    assert stills[0]["jpg"] == CocoSource().images["000000000009.jpg"]
    (boat,) = read("davis/val/media-00001.tar")
    assert boat["__key__"] == "boat"
    assert sorted(name for name in boat if name.endswith("jpg")) == [
        f"{number:05d}.jpg" for number in range(4)
    ]


def test_a_second_run_writes_nothing(tmp_path: Path, coco: Path) -> None:
    first = run(stage_of(tmp_path / "root", coco))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "root").rglob("*")}
    stage = stage_of(tmp_path / "root", coco)
    progress = Progress(2)
    assert NormalizeJob(stage, Budget()).run(LocalExecutor(), progress) == first
    assert (progress.done, progress.skipped) == (0, 2)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "root").rglob("*")} == times


def test_equal_input_gives_equal_bytes_whatever_the_order_and_threads(
    tmp_path: Path, coco: Path
) -> None:
    run(stage_of(tmp_path / "a", coco))
    stage: NormalizeStage = pickle.loads(pickle.dumps(stage_of(tmp_path / "b", coco)))
    for unit in reversed(stage.units):
        assert isinstance(stage.run(unit), UnitReport)
    run(stage)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_bad_samples_keep_their_row_and_their_budget_is_checked_last(tmp_path: Path) -> None:
    source = CocoSource()
    del source.images["000000000025.jpg"]
    source.images["000000000030.jpg"] = source.images["000000000030.jpg"][:400]
    source.instances["annotations"][3]["segmentation"] = [[1]]
    root, archives = tmp_path / "root", source.write(tmp_path / "coco")
    with pytest.raises(BudgetError, match=r"3 of 4 rows .*truncated 1.*example 0+25 missing: "):
        run(stage_of(root, archives), "50%")
    store = LocalObjectStore(root)
    assert store.size("normalized/coco/val2017/split.json") is None
    assert read_commit(store, "normalized/coco/val2017", 1).quarantined == {"bad-annotation": 1}
    record = run(stage_of(root, archives), "3")
    assert record.quarantined == {"bad-annotation": 1, "missing": 1, "truncated": 1}
    assert record.counts["images"] == 1
    samples = Split.open(store, "coco", "val2017").samples(0)
    assert [sample.size > 0 for sample in samples] == [True, False, False]
    assert Split.open(store, "coco", "val2017").annotations_table(1).num_rows == 0


def test_objects_without_pixels_are_dropped_and_counted(tmp_path: Path) -> None:
    source = CocoSource()
    source.instances["annotations"][0]["segmentation"] = {"size": [16, 20], "counts": [320]}
    source.instances["annotations"][1]["area"] = 0
    source.instances["annotations"][2]["image_id"] = 5
    record = run(stage_of(tmp_path / "root", source.write(tmp_path / "coco")))
    assert record.counts["zero_area"] == 2
    assert record.counts["annotations_without_image"] == 1
    assert record.counts["annotations"] == 1


def test_a_quarantined_frame_prompts_nothing(tmp_path: Path) -> None:
    source = DavisSource()
    place = "DAVIS/JPEGImages/480p/boat/00001.jpg"
    source.members[place] = source.members[place][:500]
    record = run(stage_of(tmp_path / "root", source.write(tmp_path / "davis"), "davis"), "1")
    split = Split.open(LocalObjectStore(tmp_path / "root"), "davis", "val")
    (boat,) = split.clips(1)
    assert [(prompt.object_id, prompt.frame) for prompt in boat.prompts] == [(1, 0), (2, 2)]
    assert record.object_frames_per_shard == 4 + 2


def test_another_source_is_refused_before_anything_is_written(tmp_path: Path, coco: Path) -> None:
    run(stage_of(tmp_path / "root", coco))
    before = contents(tmp_path / "root")
    source = CocoSource()
    source.instances["annotations"][0]["bbox"] = [1.0, 1.0, 2.0, 2.0]
    changed = source.write(tmp_path / "other")
    for stage in (
        stage_of(tmp_path / "root", changed),
        stage_of(tmp_path / "root", coco, rows=2),
        stage_of(tmp_path / "root", coco, rows=4),
    ):
        with pytest.raises(ConflictError, match=r"Remove normalized/coco/val2017 .*--root"):
            run(stage)
    assert contents(tmp_path / "root") == before


def test_an_unwritable_root_is_a_storage_error(tmp_path: Path, coco: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"Choose|Check"):
        run(stage_of(tmp_path / "file" / "root", coco))


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    source = CocoSource()
    for name in source.images:
        source.images[name] = jpeg(700, 700, int(name[:12]))
    for image in source.instances["images"]:
        image["width"] = image["height"] = 700
    source.instances["annotations"] = []
    archives = source.write(tmp_path / "coco")
    run(stage_of(tmp_path / "expected", archives, rows=1))
    root = tmp_path / "root"
    root.mkdir()
    if not _mount(root, "1m"):
        pytest.skip("mounting a small file system is not permitted here")
    try:
        with pytest.raises(StorageError, match="Free space"):
            run(stage_of(root, archives, rows=1))
        expected = contents(tmp_path / "expected")
        found = contents(root)
        assert 0 < len(found) < len(expected)
        assert all(expected[name] == body for name, body in found.items())
        subprocess.run(["mount", "-o", "remount,size=16m", str(root)], check=True)
        run(stage_of(root, archives, rows=1))
        assert contents(root) == expected
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source = CocoSource()
    template = source.instances["images"][0]
    source.images = {f"{number:012d}.jpg": jpeg(200, 200, number) for number in range(1, 41)}
    source.instances["images"] = [
        template | {"id": int(name[:12]), "file_name": name, "width": 200, "height": 200}
        for name in source.images
    ]
    source.instances["annotations"] = []
    archives = source.write(tmp_path / "coco")
    root = tmp_path / "root"
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(root), str(archives)])
    try:
        commits = root / "normalized" / "coco" / "val2017" / "commits"
        while process.poll() is None and not list(commits.glob("*.json")):
            time.sleep(0.001)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (commits.parent / "split.json").exists()
    run(stage_of(root, archives, rows=1))
    run(stage_of(tmp_path / "whole", archives, rows=1))
    visible = {
        name: body for name, body in contents(root).items() if not Path(name).name.startswith(".")
    }
    assert visible == contents(tmp_path / "whole")


_SCRIPT = """
import sys
from pathlib import Path
from pipelines.engine.executor import LocalExecutor
from pipelines.engine.progress import Progress
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.normalize import NormalizeJob
from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.registry import open_splits
from pipelines.store.local import LocalObjectStore

root, source = map(Path, sys.argv[1:])
(split,) = open_splits("coco", ["val2017"], source, LayoutOptions(), downloaded=False)
stage = NormalizeStage(LocalObjectStore(root), split, rows_per_shard=1)
NormalizeJob(stage, Budget()).run(LocalExecutor(), Progress(len(stage.units)))
"""


@pytest.mark.parametrize(
    ("text", "rows", "allowed"),
    [("1%", 4, 0), ("1%", 100, 1), ("2.5%", 1000, 25), ("0%", 9, 0), ("100%", 9, 9), ("5", 9, 5)],
)
def test_budgets(text: str, rows: int, allowed: int) -> None:
    assert Budget.parse(text).allowed(rows) == allowed


@pytest.mark.parametrize("text", ["", "x", "-1", "101%", "0.5", "nan%", "1%%"])
def test_budgets_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="--max-quarantined"):
        Budget.parse(text)


def _mount(folder: Path, size: str) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={size}".encode()
    return bool(libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, options) == 0)


def test_categories_are_a_table_of_the_split(tmp_path: Path) -> None:
    source = LvisSource()
    source.image(30)["neg_category_ids"] = [4]
    (normalizer,) = open_splits(
        "lvis", ["val"], source.write(tmp_path / "lvis"), LayoutOptions(), downloaded=False
    )
    store = LocalObjectStore(tmp_path / "root")
    record = run(NormalizeStage(store, normalizer, rows_per_shard=3))
    assert "normalized/lvis/val/categories.parquet" in [file.key for file in record.files]
    rows = read_table(store, "normalized/lvis/val/categories.parquet", CATEGORIES).to_pylist()
    assert [(row["id"], row["name"], row["frequency"]) for row in rows] == [
        (1, "aerosol_can", "c"),
        (2, "bow_(weapon)", "r"),
        (3, "bow_(decorative_ribbons)", "f"),
        (4, "Christmas_tree", "f"),
    ]
    assert rows[0]["synonyms"] == ["aerosol_can", "spray_can"]
    # A phrase that is only ever negative has a row too: its features are needed.
    phrases = Split.open(store, "lvis", "val").phrases
    assert phrases == ["Christmas tree", "aerosol can", "bow", "spray can"]


def test_a_split_without_categories_has_no_such_table(tmp_path: Path, davis: Path) -> None:
    record = run(stage_of(tmp_path / "root", davis, "davis"))
    assert not any("categories" in file.key for file in record.files)


def test_a_subset_is_a_split_of_its_own_with_an_identity(tmp_path: Path, coco: Path) -> None:
    (whole,) = open_splits("coco", ["val2017"], coco, LayoutOptions(), downloaded=False)
    rule = KeyList(frozenset(["000000000009", "000000000042"]))
    (part,) = take_subset([whole], rule)
    record = run(NormalizeStage(LocalObjectStore(tmp_path / "root"), part, rows_per_shard=3))
    digest = digest_bytes(b"000000000009\n000000000042\n")
    assert record.split == f"val2017-ids-{digest[:8]}"
    assert record.subset == f"2 ids blake3:{digest}"
    assert record.rows == 2
    ids = tmp_path / "root/normalized/coco" / record.split / "ids.txt"
    assert KeyList.read(ids) == rule
    assert digest_bytes(ids.read_bytes()) == digest
    assert digest in {file.blake3 for file in record.files}
    split = Split.open(LocalObjectStore(tmp_path / "root"), "coco", record.split)
    assert [sample.key for sample in split.samples(0)] == ["000000000009", "000000000042"]
