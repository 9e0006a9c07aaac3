from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from downloaders.base import DownloadContext
from downloaders.registry import find_dataset
from pipelines.cli.main import build_app
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.calibrate import calibrate
from pipelines.jobs.plan import Plan, Speeds, make_plan, recorded_speeds
from pipelines.jobs.plan_download import plan_download
from pipelines.jobs.split_sizes import SplitSize, split_sizes
from pipelines.store import layout
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.teachers.outline import outline_teacher
from schemas.errors import StorageError, UnknownNameError, UsageError
from schemas.features import Precision
from schemas.ids import parse_json
from tests.jobs import normalized_split as made

SAM3 = outline_teacher("facebook/sam3")
TINY = outline_teacher("tiny")
NO_SPEED = Speeds(source="recorded", seconds={}, write_gb=1)


def plan_published(
    root: Path, dataset: str, *splits: str, features: tuple[str, ...] = (), **options: int
) -> Plan:
    store = LocalObjectStore(root)
    sizes = split_sizes(store, dataset, splits, rows_per_shard=64, **options)
    speeds = recorded_speeds(SAM3, peak_tflops=989, write_gb=1)
    return make_plan(
        store, "facebook/sam3", SAM3, sizes, expand_features(features), speeds, free=None
    )


@pytest.mark.parametrize(
    ("source", "features"),
    [
        (made.Stills(count=30), ("image.trunk", "text.tokens")),
        (made.Stills(count=30), ("image.trunk@int8", "image.trunk@pca64", "text.mask")),
        (made.Stills(count=30), ("image.trunk", "prompts")),
        (made.Clips(count=4), ("image.trunk", "memory")),
    ],
)
def test_the_bytes_are_those_of_the_cache(
    tmp_path: Path, source: made.Stills | made.Clips, features: tuple[str, ...]
) -> None:
    split = made.normalize(tmp_path, source, rows_per_shard=10)
    sizes = split_sizes(split.store, "made-up", [], rows_per_shard=64)
    plan = make_plan(split.store, "tiny", TINY, sizes, expand_features(features), NO_SPEED, free=1)
    cached = made.plan(split, *features)
    for stage in cached.stages:
        for unit in stage.units:
            stage.stage.run(unit)
    found = made.tree(tmp_path)
    assert plan.files == len(found)
    assert plan.feature_bytes == pytest.approx(sum(map(len, found.values())), rel=0.01)
    assert [feature.array for feature in plan.splits[0].features] == [
        array.feature.array_name for array in cached.arrays
    ]
    assert plan.device_hours is None
    assert plan.wall_hours is None
    assert not plan.fits


def plan_images(split: Split, size: SplitSize, precision: Precision = "float32") -> Plan:
    wanted = expand_features(["image"])
    return make_plan(
        split.store, "tiny", TINY, [size], wanted, NO_SPEED, free=None, precision=precision
    )


def test_only_what_is_missing_is_priced(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills(count=12), rows_per_shard=3)
    wanted = ("image.trunk", "prompts.mask_logits")
    speed = Speeds(source="recorded", seconds={"sample": 3600, "prompt": 36}, write_gb=1)

    def make() -> Plan:
        sizes = split_sizes(split.store, "made-up", [], rows_per_shard=64)
        return make_plan(
            split.store, "tiny", TINY, sizes, expand_features(wanted), speed, free=None
        )

    fresh = make()
    assert (fresh.bytes_left, fresh.files_left) == (fresh.feature_bytes, fresh.files)
    assert fresh.splits[0].device_hours == {"prompt": 0.22, "sample": 11}
    (trunk,) = made.plan(split, "image.trunk").stages
    for unit in trunk.units[:3]:
        trunk.stage.run(unit)
    (both,) = made.plan(split, *wanted).stages
    both.stage.run(both.units[0])
    before = made.tree(tmp_path)
    plan = make()
    (planned,) = plan.splits
    assert (plan.feature_bytes, plan.files) == (fresh.feature_bytes, fresh.files)
    assert planned.cached_by == made.load_tiny().spec.digest
    assert [feature.shards_left for feature in planned.features] == [1, 3]
    assert [feature.rows_left for feature in planned.features] == [3, 16]
    # The trunk is computed for the prompts, of shards too in which it is cached itself.
    assert planned.device_hours == {"prompt": 0.16, "sample": 8}
    assert plan.dollars["device"] == pytest.approx(3 * 8.16)
    assert plan.dollars["storage_month"] == fresh.dollars["storage_month"]
    for unit in both.units[1:]:
        both.stage.run(unit)
    added = {key: body for key, body in made.tree(tmp_path).items() if key not in before}
    assert plan.files_left == plan.put_requests == len(added)
    assert plan.bytes_left == pytest.approx(sum(map(len, added.values())), rel=0.01)
    done = make()
    assert (done.bytes_left, done.files_left, done.device_hours) == (0, 0, 0)


def test_imported_features_are_not_counted(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills(count=6), rows_per_shard=3)
    (stage,) = made.plan(split, "image.trunk").stages
    for unit in stage.units:
        stage.stage.run(unit)
    (zarr,) = tmp_path.glob("features/made-up/stills/*/image.trunk/zarr.json")
    stored = json.loads(zarr.read_text())
    stored["attributes"]["samdistill"]["teacher"]["weights"] = "dump:made-up"
    zarr.write_text(json.dumps(stored))
    (size,) = split_sizes(split.store, "made-up", [], rows_per_shard=64)
    plan = plan_images(split, size)
    assert plan.splits[0].cached_by is None
    assert plan.splits[0].features[0].shards_left == 2


def test_features_of_an_older_split_or_of_less_use_are_not_counted(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills(count=12), rows_per_shard=3)
    (stage,) = made.plan(split, "image.trunk").stages
    for unit in stage.units[:2]:
        stage.stage.run(unit)
    features = tmp_path / "features/made-up/stills"
    mine = made.load_tiny().spec.digest
    other = features / ("f" * 16)
    shutil.copytree(features / mine, other)
    (other / "image.trunk/commits/00001.json").unlink()
    (size,) = split_sizes(split.store, "made-up", [], rows_per_shard=64)
    plan = plan_images(split, size)
    assert plan.splits[0].features[0].shards_left == 2
    assert plan.splits[0].notes == (
        f"counted as cached: features of teacher {mine}; {'f' * 16} has fewer",
        "no figures for sample of this teacher: use --calibrate",
    )
    plan = plan_images(split, size, precision="bfloat16-autocast")
    assert plan.splits[0].cached_by is None
    record = split.store.get(layout.split_key("made-up", "stills"))
    Path(tmp_path, layout.split_key("made-up", "stills")).write_bytes(record + b"\n")
    (size,) = split_sizes(split.store, "made-up", [], rows_per_shard=64)
    plan = plan_images(split, size)
    assert plan.splits[0].cached_by is None
    assert plan.splits[0].features[0].shards_left == 4


def test_prompts_are_counted_where_objects_are(tmp_path: Path) -> None:
    plan = plan_published(tmp_path, "coco", "val2017", features=("prompts.mask_logits",))
    (split,) = plan.splits
    assert split.features[0].rows == 2 * 36781
    assert split.device_hours.keys() == {"sample", "prompt"}
    assert split.notes == ("prompts: as if none of the objects were a crowd",)
    unknown = plan_published(tmp_path, "sa-1b", "train", features=("prompts",), images=1000)
    assert unknown.splits[0].features == ()
    assert unknown.splits[0].notes == ("no prompts yet: normalizing counts the objects",)


def test_before_anything_is_downloaded(tmp_path: Path) -> None:
    plan = plan_published(tmp_path, "coco", "val2017")
    (split,) = plan.splits
    trunk = split.features[0]
    assert (split.counts, trunk.array, trunk.rows, trunk.shards) == (
        "published",
        "image.trunk",
        5000,
        79,
    )
    assert trunk.bytes == pytest.approx(5000 * 10_616_832, rel=0.001)
    hours = 5000 * 5.4e12 / (989e12 * 0.4) / 3600
    assert plan.device_hours == plan.wall_hours == pytest.approx(hours)
    assert plan.limited_by == "the device"
    assert plan.dollars["device"] == pytest.approx(3 * hours)
    # 64 rows of 10.6 MB are 41 parts of 16 MiB, one request opens and one closes the upload.
    assert plan.put_requests == pytest.approx(79 * (3 + 42), rel=0.02)
    assert split.epoch_reads == 2 * 5000
    assert not list(tmp_path.iterdir())


def test_int8_takes_half(tmp_path: Path) -> None:
    half = plan_published(tmp_path, "coco", "val2017", features=("image.trunk@int8",))
    whole = plan_published(tmp_path, "coco", "val2017", features=("image.trunk",))
    assert half.feature_bytes == pytest.approx(whole.feature_bytes / 2, rel=0.002)
    assert half.device_hours == whole.device_hours


def test_what_nobody_states_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nobody states how large sa-1b train is.*--images N"):
        plan_published(tmp_path, "sa-1b", "train")
    plan = plan_published(tmp_path, "sa-1b", "train", images=1000)
    assert plan.splits[0].rows == {"sample": 1000}


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean coco"):
        plan_published(tmp_path, "cocoo")
    with pytest.raises(UnknownNameError, match="Did you mean val2017"):
        plan_published(tmp_path, "coco", "val2018")
    with pytest.raises(UnknownNameError, match=r"Did you mean image\.trunk"):
        plan_published(tmp_path, "coco", "val2017", features=("image.trnk",))


def test_the_live_teacher_is_timed(tmp_path: Path) -> None:
    clips = made.normalize(tmp_path, made.Clips(count=1))
    stills = made.normalize(tmp_path, made.Stills(count=3))
    sizes = split_sizes(clips.store, "made-up", [], rows_per_shard=64)
    wanted = ("text", "memory", "prompts")
    teacher = made.load_tiny()
    speeds = calibrate(stills.store, teacher, sizes, expand_features(wanted), batch=2, seconds=0.01)
    assert speeds.source == "calibrated"
    assert speeds.seconds.keys() == {"sample", "phrase", "object_frame", "prompt"}
    usual = calibrate(stills.store, teacher, sizes, expand_features([]), batch=2, seconds=0.01)
    assert usual.seconds.keys() == {"sample", "phrase", "object_frame"}
    assert all(seconds >= 0 for seconds in speeds.seconds.values())
    assert speeds.write_gb > 0
    plan = make_plan(
        clips.store, "tiny", TINY, sizes, expand_features([]), speeds, free=None, workers=2
    )
    assert plan.device_hours is not None
    assert plan.wall_hours is not None
    assert not made.tree(tmp_path)


def test_links_say_how_fast_they_want_to_be_used(tmp_path: Path) -> None:
    links = tmp_path / "links.tsv"
    links.write_text(
        "file_name\tcdn_link\nsa_000000.tar\thttps://x.invalid/sa_000000.tar?oe=6A000000\n"
    )
    ends = datetime.fromtimestamp(0x6A000000, UTC)
    planned = plan_download("sa-1b", ["train"], tmp_path, links, now=ends)
    assert planned is not None
    assert planned.links_end == ends.isoformat()
    assert planned.needed_mb_s == float("inf")
    assert plan_download("made-up", ["stills"], tmp_path, None) is None


def test_an_archive_of_another_size_is_not_there(tmp_path: Path) -> None:
    absent = plan_download("coco", ["val2017"], tmp_path, None)
    assert absent is not None
    assert absent.present_bytes == 0
    folder = tmp_path / "coco"
    folder.mkdir()
    archives = find_dataset("coco").plan(["val2017"], DownloadContext(folder=folder)).files
    archive = next(file for file in archives if file.bytes)
    assert archive.bytes is not None
    for size, present in ((archive.bytes - 1, 0), (archive.bytes, archive.bytes)):
        with (folder / archive.name).open("wb") as file:
            file.truncate(size)
        found = plan_download("coco", ["val2017"], tmp_path, None)
        assert found is not None
        assert found.present_bytes == present


class TestCommand:
    @pytest.fixture
    def split(self, tmp_path: Path) -> Split:
        return made.normalize(tmp_path, made.Stills())

    @staticmethod
    def invoke(split: Split, *arguments: str) -> Result:
        command = ["plan", "made-up", "--root", split.store.url, "--teacher", "tiny"]
        return CliRunner().invoke(build_app(), [*command, *arguments])

    def test_names_and_numbers_are_whole_on_a_narrow_terminal(
        self, split: Split, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "60")
        result = self.invoke(split, "--views", "identity,hflip", "--features", "image.trunk@int8")
        lines = [line.split() for line in result.output.splitlines()]
        assert ["array", "rows", "left"] in lines
        assert ["image.trunk~hflip@int8", "9"] in [words[:2] for words in lines]

    def test_it_prints(self, split: Split) -> None:
        result = self.invoke(split)
        assert result.exit_code == 0, result.output
        for text in (
            "made-up/stills: 9 images, 6 phrases, 18 prompts (normalized)",
            "image.trunk",
            "left to cache",
            "use --calibrate",
        ):
            assert text in result.output

    def test_json_is_the_plan(self, split: Split) -> None:
        result = self.invoke(split, "--json", "--features", "image")
        plan = parse_json(result.stdout.encode(), Plan, "plan")
        assert plan.splits[0].rows["sample"] == 9
        assert plan.fits

    @pytest.mark.parametrize("json", [False, True])
    def test_what_does_not_fit_fails_after_the_plan(
        self, split: Split, monkeypatch: pytest.MonkeyPatch, json: bool
    ) -> None:
        monkeypatch.setattr("pipelines.jobs.cache.free_bytes", lambda _: 10)
        result = self.invoke(split, *["--json"] * json)
        assert result.exit_code == 1
        assert isinstance(result.exception, StorageError)
        assert "got 10 bytes free" in str(result.exception)
        assert "--features" in str(result.exception)
        if json:
            assert not parse_json(result.stdout.encode(), Plan, "plan").fits
        else:
            assert "DOES NOT FIT" in result.output

    def test_the_precision_decides_the_hours(self, tmp_path: Path) -> None:
        command = ["plan", "coco", "--split", "val2017", "--root", str(tmp_path), "--json"]
        hours = [
            json.loads(CliRunner().invoke(build_app(), [*command, *options]).stdout)["device_hours"]
            for options in (["--precision", "bfloat16-autocast"], [], ["--peak-tflops", "989"])
        ]
        assert hours[1] == pytest.approx(hours[0] * 989 / 67)
        assert hours[2] == hours[0]

    def test_bytes_of_an_epoch_are_unknown_until_normalized(self, tmp_path: Path) -> None:
        command = ["plan", "coco", "--split", "val2017", "--root", str(tmp_path)]
        result = CliRunner().invoke(build_app(), command)
        assert "val2017 10,000 reads, bytes unknown until normalized" in result.output


def test_what_is_done_takes_no_request_time_or_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files of many parts, written so slowly that writing is the limit.
    monkeypatch.setattr("pipelines.jobs.plan.PART_BYTES", 1 << 10)
    split = made.normalize(tmp_path, made.Stills(count=12), rows_per_shard=3)
    speed = Speeds(source="recorded", seconds={"sample": 1}, write_gb=1e-9)

    def make(free: int) -> Plan:
        sizes = split_sizes(split.store, "made-up", [], rows_per_shard=64)
        return make_plan(
            split.store, "tiny", TINY, sizes, expand_features(["image.trunk"]), speed, free=free
        )

    whole = make(0)
    (stage,) = made.plan(split, "image.trunk").stages
    for unit in stage.units[:2]:
        stage.stage.run(unit)
    half = make(0)
    assert not half.fits
    assert make(half.bytes_left).fits
    assert not make(half.bytes_left - 1).fits
    assert half.wall_hours == pytest.approx(half.bytes_left / 3600)
    assert half.limited_by == "writing"
    # The array's own zarr.json is there already.
    assert half.put_requests == pytest.approx(whole.put_requests / 2, abs=1)
    for unit in stage.units[2:]:
        stage.stage.run(unit)
    done = make(0)
    assert (done.put_requests, done.wall_hours, done.fits) == (0, 0, True)
