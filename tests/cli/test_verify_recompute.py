"""Each fault that nothing but the teacher can tell, through the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from pipelines.cli import verify
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.cache import CacheOptions, plan_cache
from pipelines.jobs.feature_stage import teacher_loader
from pipelines.jobs.publish import publish, select
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.teachers.base import TeacherOptions
from pipelines.teachers.sam3 import Sam3Teacher
from pipelines.teachers.tiny import tiny_teacher_folder
from schemas.errors import UsageError
from schemas.features import PreprocessSpec, TeacherSpec
from tests.jobs import normalized_split as made
from tests.jobs.planted import Rows, Table, replant, values_of

STILLS = (
    "image.trunk", "image.trunk@bfloat16", "image.trunk@float32", "image.trunk@int8",
    "image.trunk@fp8_e4m3", "image.trunk@pca64", "image.layer02", "image.fpn72.detector",
    "image.fpn72.detector@pca64", "image.fpn72.tracker@int8",
    "text", "text.tokens@int8", "prompts", "prompts.mask_logits@fp8_e4m3",
)  # fmt: skip
CLIPS = ("image.trunk", "memory", "memory.conditioned", "memory.maskmem@int8", "memory.box")
CODECS = ("float16", "bfloat16", "float32", "int8", "fp8_e4m3")


@pytest.fixture(scope="session", autouse=True)
def _teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMDISTILL_CACHE", str(tmp_path_factory.mktemp("teachers")))
        yield


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cached") / "root"
    for source, wanted in ((made.Stills(count=8), STILLS), (made.Clips(count=2), CLIPS)):
        for planned in made.plan(made.normalize(root, source), *wanted).stages:
            for unit in planned.units:
                planned.stage.run(unit)
    return root


@pytest.fixture
def root(cached: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cached, tmp_path / "root"))


def open_array(root: Path, name: str, split: str = "stills") -> FeatureArray:
    digest = made.load_tiny().spec.digest
    folder = layout.array_folder("made-up", split, digest, name)
    return FeatureArray.open(LocalObjectStore(root), folder)


def run(
    root: Path, array: FeatureArray | None = None, amount: str = "100%", *options: str
) -> Result:
    """Publish one array, or all, then verify it."""
    store = LocalObjectStore(root)
    places = [f"made-up/{array.record.split}"] if array else []
    features = [array.feature.array_name] if array else []
    publish(store, "all", select(store, places, features=features))
    return verified(root, amount, *options)


def verified(root: Path, amount: str, *options: str) -> Result:
    app = typer.Typer()
    verify.register(app)
    arguments = ["all", "--root", str(root), "--recompute", amount, "--teacher", "tiny", *options]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "60"})


def require_found(shown: Result, key: str, *words: str) -> None:
    """There is one line about the file, with these words, and no other finding."""
    assert shown.exit_code == 1, shown.output
    lines = [line for line in shown.output.splitlines() if line.startswith(f"{key}: ")]
    assert len(lines) == 1, shown.output
    for word in words:
        assert word in lines[0]
    assert "0 findings" in shown.output, "the fault was to be planted better"


def test_a_sound_cache_passes(root: Path) -> None:
    shown = run(root, None, "100%", "--deep")
    assert shown.exit_code == 0, shown.output
    names = {path.parent.name for path in root.glob("features/*/*/*/*/zarr.json")}
    assert all(f"\n{name} in " in shown.output for name in names)
    assert max(map(len, shown.output.splitlines())) <= 80
    tables = shown.output.partition("recomputed with")[2].splitlines()
    assert all(len(line) <= 60 for line in tables)


def test_bfloat16_autocast_passes(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Clips(count=1, frames=3))
    options = TeacherOptions(precision="bfloat16-autocast", image_batch=3)
    load = teacher_loader("tiny", options)
    plan = plan_cache(
        split, load(), load, expand_features(["image", "memory"]), CacheOptions(batch=3)
    )
    for planned in plan.stages:
        for unit in planned.units:
            planned.stage.run(unit)
    shown = run(tmp_path)
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("codec", [*CODECS, "pca64"])
def test_swapped_rows(root: Path, codec: str) -> None:
    name = "image.trunk" if codec == "float16" else f"image.trunk@{codec}"
    array = open_array(root, name)

    def swap(rows: Rows, table: Table) -> None:
        rows[0], rows[2] = rows[2], rows[0]

    replant(array, 0, swap)
    key = array.shard_key(0)
    found = "row 0, 'still-000', is not what the teacher computes, like rows 2; expected "
    require_found(run(root, array), key, found, "it holds row 2, 'still-002'")


@pytest.mark.parametrize(
    ("name", "split", "first"),
    [
        ("image.fpn72.detector", "stills", "row 0, 'still-000',"),
        ("text.tokens", "stills", "row 0, 'thing 0',"),
        ("prompts.mask_logits", "stills", "row 0, 'still-000' object 0 point,"),
        ("memory.maskmem", "clips", "row 0, 'clip-0.00000' object 1,"),
        ("memory.object_score", "clips", "row 0, 'clip-0.00000' object 1,"),
    ],
)
def test_shifted_rows(root: Path, name: str, split: str, first: str) -> None:
    array = open_array(root, name, split)

    def shift(rows: Rows, table: Table) -> None:
        rows[:] = [*rows[1:], rows[0]]

    replant(array, 0, shift)
    words = (first, "is not what the teacher computes, like rows 1", "it holds row 1,")
    require_found(run(root, array), array.shard_key(0), *words)


def test_swapped_keys(root: Path) -> None:
    array = open_array(root, "image.trunk")

    def swap(rows: Rows, table: Table) -> None:
        table[1]["key"], table[3]["key"] = table[3]["key"], table[1]["key"]

    replant(array, 0, swap)
    key = layout.rows_key(array.folder, 0)
    words = ("the first; expected row 1, key still-001; got row 1, key still-003",)
    require_found(run(root, array), key, *words)


@pytest.mark.parametrize(
    ("name", "split", "row", "words"),
    [
        ("image.trunk@int8", "stills", 2, "row 2, 'still-002',"),
        ("text.tokens", "stills", 5, "row 5, 'thing 6',"),
        ("prompts.iou", "stills", 3, "row 3, 'still-001' object 1 box,"),
        ("memory.object_pointer", "clips", 6, "row 6, 'clip-0.00003' object 2,"),
    ],
)
def test_a_row_wrongly_marked_absent(
    root: Path, name: str, split: str, row: int, words: str
) -> None:
    array = open_array(root, name, split)

    def leave_out(rows: Rows, table: Table) -> None:
        rows[row] = None
        table[row]["quarantine"] = "undecodable: broken off"

    replant(array, 0, leave_out)
    why = "is absent; expected features, which the teacher computes; got undecodable: broken off"
    # Rows that are absent are found whether they are drawn or not.
    require_found(run(root, array, "2"), array.shard_key(0), f"{words} {why}")


def test_a_row_that_the_split_has_quarantined(root: Path) -> None:
    array = open_array(root, "image.trunk")

    def fill(rows: Rows, table: Table) -> None:
        rows[1], table[1]["quarantine"] = rows[0], None

    replant(array, 1, fill)
    words = ("row 1, 'still-005', is stored; expected no features; got missing: not in the arch",)
    require_found(run(root, array), array.shard_key(1), *words)


@pytest.mark.parametrize("name", ["image.trunk", "image.trunk@int8", "image.trunk@fp8_e4m3"])
def test_a_value_that_is_not_finite(root: Path, name: str) -> None:
    array = open_array(root, name)

    def spoil(rows: Rows, table: Table) -> None:
        assert rows[1] is not None
        if name == "image.trunk":
            rows[1][3, 5, 7] = np.nan
        else:
            rows[1][:4] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)

    replant(array, 0, spoil)
    words = "row 1, 'still-001', is not finite; expected finite values"
    at = "1 that are not, the first nan at [3, 5, 7]" if "@" not in name else "256 that are not"
    require_found(run(root, array), array.shard_key(0), words, at)


def test_a_dead_channel(root: Path) -> None:
    array = open_array(root, "image.trunk")

    def kill(rows: Rows, table: Table) -> None:
        for row in rows:
            if row is not None:
                row[40] = 0.25

    for shard in (0, 1):
        replant(array, shard, kill)
    shown = run(root, array, "100%", "--json")
    assert shown.exit_code == 1
    for shard, rows in ((0, 4), (1, 3)):
        key = array.shard_key(shard)
        dead = f"{key}: dead channels 40: constant in {rows} compared rows from row 0, "
        assert dead in shown.stderr
    report = json.loads(shown.stdout)["recomputed"]
    assert report["arrays"][0]["dead_channels"] == [40]
    assert [shard["dead_channels"] for shard in report["shards"]] == [[40], [40]]


@pytest.mark.parametrize("codec", CODECS)
def test_one_flipped_sign_bit(root: Path, codec: str) -> None:
    name = "image.trunk" if codec == "float16" else f"image.trunk@{codec}"
    array = open_array(root, name)

    def flip(rows: Rows, table: Table) -> None:
        stored = rows[3]
        assert stored is not None
        values = values_of(array, stored)
        decoded = array.codec.decode(stored, array.feature.item_shape)[9]
        place = np.unravel_index(np.abs(decoded).argsort(axis=None)[128], decoded.shape)
        bits = values.view(f"u{values.itemsize}")
        bits[(9, *place)] ^= np.array(1 << (8 * values.itemsize - 1), bits.dtype)

    replant(array, 0, flip)
    words = ("row 3, 'still-003', is not what the teacher computes; expected ", " at [9, ")
    require_found(run(root, array), array.shard_key(0), *words)


class Lying(Sam3Teacher):
    """Says that it is the tiny teacher."""

    @property
    def spec(self) -> TeacherSpec:
        return made.load_tiny().spec


def with_another_mean(teacher: Lying) -> None:
    other = PreprocessSpec(image_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    teacher._spec = msgspec.structs.replace(teacher._spec, preprocess=other)


def with_other_weights(teacher: Lying) -> None:
    with torch.no_grad():
        for parameter in teacher._model.parameters():
            parameter.mul_(1.002)


@pytest.mark.parametrize("change", [with_another_mean, with_other_weights])
def test_another_teachers_features(tmp_path: Path, change: Callable[[Lying], None]) -> None:
    split = made.normalize(tmp_path, made.Stills(count=4))
    teacher = Lying.load(str(tiny_teacher_folder()))
    assert isinstance(teacher, Lying)
    change(teacher)
    (planned,) = made.plan(split, "image.trunk@int8", load=lambda: teacher).stages
    planned.stage.run(planned.units[0])
    key = planned.stage.arrays[0].shard_key(0)
    words = ("row 0, 'still-000', is not what the teacher computes, like rows 1, 2, 3; expected",)
    require_found(run(tmp_path), key, *words)


@pytest.mark.parametrize("cut", [1, 20_000])
def test_a_truncated_shard(root: Path, cut: int) -> None:
    array = open_array(root, "image.trunk")
    run(root, array, "1")
    path = root / array.shard_key(0)
    path.write_bytes(path.read_bytes()[:-cut])
    shown = verified(root, "1%")
    key = path.relative_to(root).as_posix()
    assert shown.exit_code == 1
    assert f"{key}: rows 0 to 3, 'still-000' to 'still-003', cannot be read" in shown.output


def test_a_damaged_row(root: Path) -> None:
    array = open_array(root, "image.trunk")
    run(root, array, "1")
    with (root / array.shard_key(0)).open("r+b") as file:
        file.seek(2 * (array.feature.item_bytes + 4) + 100)
        file.write(b"\1\2\3")
    shown = verified(root, "100%")
    assert shown.exit_code == 1
    found = f"{array.shard_key(0)}: row 2, 'still-002', cannot be read; expected a whole row"
    assert found in shown.output


def test_an_image_that_cannot_be_read_any_more(root: Path) -> None:
    array = open_array(root, "image.trunk")
    store = LocalObjectStore(root)
    publish(store, "all", select(store, ["made-up/stills"], features=["image.trunk"]))
    made.rot_image(Split.open(store, "made-up", "stills"), 0, 1)
    shown = verified(root, "100%")
    assert shown.exit_code == 1
    found = f"{array.shard_key(0)}: row 1, 'still-001', is stored and cannot be computed; "
    assert found in shown.output


def test_json_has_all_numbers(root: Path) -> None:
    shown = run(root, open_array(root, "image.trunk@int8"), "3", "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["checks"]["findings"] == []
    (stills,) = found["recomputed"]["arrays"]
    assert stills["compared"] == 3
    assert stills["drawn"] == 2
    assert 0.9999 < stills["cosine_worst"] <= stills["cosine_mean"] <= 1
    rows = [row for shard in found["recomputed"]["shards"] for row in shard["compared"]]
    assert all(row["excess"] < 1e-4 < row["error"] for row in rows)


@pytest.mark.parametrize("amount", ["0", "0%", "101%", "1.5", "x", "-1", "1 %"])
def test_refuses_amounts_that_cannot_be(root: Path, amount: str) -> None:
    shown = verified(root, amount)
    assert isinstance(shown.exception, UsageError)
    assert "a share of the rows as 0.1%, or a number as 64" in str(shown.exception)


def one_value(row: Any) -> None:
    row[9, 5, 5] += np.float32(3e-4) * np.abs(row).max()


def one_channel(row: Any) -> None:
    row[9] *= np.float32(1.00019)


@pytest.mark.parametrize("change", [one_value, one_channel])
def test_a_small_difference(root: Path, change: Callable[[Any], None]) -> None:
    """Each a little more than arithmetic may change: one value, or a channel as a whole."""
    array = open_array(root, "image.trunk@float32")
    replant(array, 0, lambda rows, _table: change(rows[1]))
    require_found(
        run(root, array), array.shard_key(0), "row 1, 'still-001', is not what the teacher"
    )
