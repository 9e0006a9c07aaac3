"""Whatever decides the value of a feature: a single change of it is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from pipelines.engine.work import WorkUnit
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.audit import audit
from pipelines.jobs.audit_amount import Amount
from pipelines.jobs.cache import CacheOptions, CachePlan, plan_cache
from pipelines.jobs.other_teachers import require_no_others
from pipelines.jobs.publish import publish, select
from pipelines.store.local import LocalObjectStore
from pipelines.store.splits import Split
from pipelines.stream.selection import require_teacher
from pipelines.teachers.base import Teacher
from pipelines.teachers.sam3 import Sam3Teacher
from pipelines.teachers.tiny import tiny_teacher_folder
from schemas.errors import DataError, IdentityError
from schemas.features import FeatureSpec, PreprocessSpec, TeacherSpec, TokenizeSpec
from schemas.ids import canonical_json
from schemas.manifests import ArrayRecord, CommitRecord
from tests.jobs import normalized_split as made
from tests.jobs.test_cache_cli import invoke
from tests.schemas.mutations import Mutation, leaves, mutations

TEACHER = TeacherSpec(
    architecture="Sam3VideoModel",
    config="c0",
    weights="w0",
    preprocess=PreprocessSpec(image_size=224),
    tokenize=TokenizeSpec(vocabulary="v0", context=32, pad_id=49407),
    precision="float32",
    attention="sdpa",
    libraries={"torch": "2.14", "transformers": "5.23"},
)
ARRAY = ArrayRecord(
    dataset="made-up",
    split="stills",
    split_digest="s0",
    feature=FeatureSpec(
        name="image.trunk", rows="sample", item_shape=(64, 16, 16), codec="float16"
    ),
    teacher=TEACHER,
    shards=2,
    rows_per_shard=4,
)
TEACHER_PATHS = [mutation.path for mutation in mutations(TEACHER)]
ARRAY_PATHS = [mutation.path for mutation in mutations(ARRAY)]


class Pretend:
    """The tiny teacher under another name."""

    def __init__(self, spec: TeacherSpec) -> None:
        self.spec = spec

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        return made.load_tiny().feature(name, codec)


def pretend(mutation: Mutation) -> Teacher:
    return cast("Teacher", Pretend(mutation.record))


def mutated(record: msgspec.Struct, path: str) -> Mutation:
    (found,) = (mutation for mutation in mutations(record) if mutation.path == path)
    return found


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("identity") / "root"
    (planned,) = made.plan(made.normalize(root, made.Stills(count=6)), "image.trunk").stages
    for unit in planned.units:
        planned.stage.run(unit)
    publish(LocalObjectStore(root), "all", select(LocalObjectStore(root), []))
    return root


@pytest.fixture
def root(cached: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cached, tmp_path / "root"))


def open_split(root: Path) -> Split:
    return Split.open(LocalObjectStore(root), "made-up", "stills")


def test_all_leaves_are_mutated() -> None:
    assert {path.partition(".another")[0] for path in ARRAY_PATHS} >= leaves(ArrayRecord)
    assert {"teacher.libraries.torch", "feature.codec", "split_digest"} <= set(ARRAY_PATHS)


class TestAnotherTeacher:
    """A live teacher that differs in one field from the one of the features that are there."""

    @pytest.fixture(params=TEACHER_PATHS)
    def other(self, request: pytest.FixtureRequest) -> Mutation:
        return mutated(made.load_tiny().spec, request.param)

    def test_the_cache_job_does_not_begin_beside_it(self, cached: Path, other: Mutation) -> None:
        plan = self.plan(cached, other)
        with pytest.raises(IdentityError) as refused:
            require_no_others(plan)
        assert f"wanted != stored: {other.reversed_text}" in str(refused.value)
        assert "--beside" in str(refused.value)

    def test_a_worker_refuses_to_fill_its_array(self, cached: Path, other: Mutation) -> None:
        (planned,) = made.plan(open_split(cached), "image.trunk").stages
        stage = replace(planned.stage, load=lambda: pretend(other))
        unit = WorkUnit(stage="image", dataset="made-up", split="stills", shard=0)
        with pytest.raises(IdentityError) as refused:
            stage.run(unit)
        assert f"wanted != found: {other.text}" in str(refused.value)

    def test_the_trainer_refuses_it(self, cached: Path, other: Mutation) -> None:
        manifest = made_manifest(cached)
        with pytest.raises(IdentityError) as refused:
            require_teacher(manifest, other.record)
        assert f"wanted != found: {other.reversed_text}" in str(refused.value)

    def test_the_trainer_names_the_nearest_of_several(self, cached: Path, other: Mutation) -> None:
        manifest = made_manifest(cached)
        far = msgspec.structs.replace(TEACHER, architecture="Far", weights="away")
        both = msgspec.structs.replace(manifest, teachers={**manifest.teachers, far.digest: far})
        with pytest.raises(IdentityError) as refused:
            require_teacher(both, other.record)
        assert f"wanted != found: {other.reversed_text}" in str(refused.value)

    def test_an_audit_refuses_it(self, cached: Path, other: Mutation) -> None:
        store = LocalObjectStore(cached)
        published = made_published(cached)
        with pytest.raises(IdentityError) as refused:
            audit(store, published, lambda _: pretend(other), Amount.parse("1"))
        assert f"wanted != found: {other.text}" in str(refused.value)

    @staticmethod
    def plan(root: Path, other: Mutation) -> CachePlan:
        teacher = pretend(other)
        options = CacheOptions()
        return plan_cache(
            open_split(root), teacher, lambda: teacher, expand_features(["image.trunk"]), options
        )


@pytest.mark.parametrize("path", ARRAY_PATHS)
class TestAnotherArray:
    """A zarr.json that differs in one field from the array that is wanted."""

    def test_the_cache_job_refuses_it(self, root: Path, path: str) -> None:
        """Also where every shard is there, and nothing is left to be written."""
        (planned,) = made.plan(open_split(root), "image.trunk").stages
        assert not planned.units
        stage = planned.stage
        other = change_array(stage.arrays[0].folder, root, path)
        for attempt in (
            lambda: made.plan(open_split(root), "image.trunk"),
            lambda: stage.arrays[0].create(),
        ):
            with pytest.raises((IdentityError, DataError)) as refused:
                attempt()
            require_named(str(refused.value), other)


def change_array(folder: str, root: Path, path: str) -> Mutation:
    """Mutate what an array's zarr.json says of it."""
    file = root / folder / "zarr.json"
    metadata = json.loads(file.read_bytes())
    record = msgspec.convert(metadata["attributes"]["samdistill"], ArrayRecord)
    other = mutated(record, path)
    metadata["attributes"]["samdistill"] = msgspec.to_builtins(other.record)
    file.write_text(json.dumps(metadata))
    return other


def require_named(text: str, other: Mutation) -> None:
    assert "zarr.json" in text
    if other.is_valid:
        assert f"wanted != stored: {other.text}" in text
    else:
        assert repr(other.after).strip("'") in text
        assert f"`$.{other.path}`" in text


COMMIT = CommitRecord(
    product="image.trunk",
    dataset="made-up",
    split="stills",
    shard=0,
    rows=4,
    identity="d0",
    files=(),
)
DESCRIBED = {"rows", "files", "inputs", "counts", "quarantined"}
"""Not who made it of what, but what it is: that `verify` compares with the files."""


@pytest.mark.parametrize(
    "path", [m.path for m in mutations(COMMIT) if m.path.partition(".")[0] not in DESCRIBED]
)
def test_a_commit_record_of_something_else_is_not_published(root: Path, path: str) -> None:
    (folder,) = root.glob("features/made-up/stills/*/image.trunk")
    file = folder / "commits" / "00000.json"
    record = msgspec.json.decode(file.read_bytes(), type=CommitRecord)
    kept = {"files": record.files, "inputs": record.inputs}
    other = mutated(msgspec.structs.replace(record, files=(), inputs=()), path)
    file.write_bytes(canonical_json(msgspec.structs.replace(other.record, **kept)))
    with pytest.raises((IdentityError, DataError)) as refused:
        made_published(root)
    assert "commits/00000.json" in str(refused.value)
    assert (other.text if other.is_valid else f"`$.{path}`") in str(refused.value)


def made_published(root: Path) -> Any:
    return publish(LocalObjectStore(root), "all", select(LocalObjectStore(root), []))


def made_manifest(root: Path) -> Any:
    return made_published(root).manifest


def test_the_command_refuses_by_field_and_goes_on_when_told_to(root: Path) -> None:
    arguments = ("--split", "stills", "--features", "image.trunk")
    other = invoke(root, *arguments, "--precision", "bfloat16-autocast")
    assert isinstance(other.exception, IdentityError)
    assert "holds the same feature of another teacher" in str(other.exception)
    assert "precision: 'bfloat16-autocast' != 'float32'" in str(other.exception)
    both = invoke(root, *arguments, "--precision", "bfloat16-autocast", "--beside")
    assert both.exit_code == 0, both.output
    again = invoke(root, *arguments)
    assert isinstance(again.exception, IdentityError)
    assert "complete" in invoke(root, *arguments, "--beside").output


def test_another_normalization_is_refused_though_nothing_is_left_to_do(root: Path) -> None:
    file = root / "normalized/made-up/stills/split.json"
    record = json.loads(file.read_bytes())
    file.write_text(json.dumps(record | {"licence": "another one"}))
    refused = invoke(root, "--split", "stills", "--features", "image.trunk")
    assert isinstance(refused.exception, IdentityError)
    assert "split_digest: " in str(refused.exception)


class TestIdenticalRebuild:
    """Other machines, paths, dates, users: nothing of it counts."""

    def test_a_moved_teacher_is_the_same(self, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_teacher_folder(), tmp_path / "elsewhere" / "sam3"))
        config = json.loads((folder / "config.json").read_text())
        config["_name_or_path"], config["transformers_version"] = "/home/of/others", "9.9.9"
        text = json.dumps(dict(reversed(config.items())), indent=7)
        (folder / "config.json").write_text(text)
        for file in folder.iterdir():
            os.utime(file, (1, 1))
        moved = Sam3Teacher.load(str(folder)).spec
        assert moved == made.load_tiny().spec
        assert moved.digest == made.load_tiny().spec.digest

    def test_a_moved_root_is_complete(self, root: Path) -> None:
        for file in root.rglob("*"):
            os.utime(file, (1, 1))
        arguments = ("--split", "stills", "--features", "image.trunk")
        shown = invoke(root, *arguments)
        assert shown.exit_code == 0, shown.output
        assert "made-up/stills image: complete" in shown.output

    def test_a_cache_made_anew_is_the_same_to_the_byte(self, root: Path, tmp_path: Path) -> None:
        other = tmp_path / "another" / "place"
        (planned,) = made.plan(made.normalize(other, made.Stills(count=6)), "image.trunk").stages
        for unit in reversed(planned.units):
            planned.stage.run(unit)
        assert made.tree(other) == made.tree(root)
        assert made_published(other).digest == made_published(root).digest
        assert not made.plan(open_split(other), "image.trunk").stages[0].units
        require_teacher(made_manifest(other), made.load_tiny().spec)


def test_any_planned_array_of_another_teacher_counts(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills(count=4))
    (planned,) = made.plan(split, "text.tokens").stages
    planned.stage.run(planned.units[0])
    teacher = pretend(mutated(made.load_tiny().spec, "weights"))
    wanted = expand_features(["image.trunk", "text.tokens"])
    plan = plan_cache(open_split(tmp_path), teacher, lambda: teacher, wanted, CacheOptions())
    with pytest.raises(IdentityError, match=r"text\.tokens holds the same feature"):
        require_no_others(plan)
