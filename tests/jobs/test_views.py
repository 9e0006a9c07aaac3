"""Features of mirrored images: cached, published, priced and recomputed beside the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.cli.main import build_app
from pipelines.exchange.dump_export import DumpFormat
from pipelines.exchange.dump_layout import LAYOUTS
from pipelines.exchange.export import choose
from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.audit import Audit, audit
from pipelines.jobs.audit_amount import Amount
from pipelines.jobs.cache import CachePlan
from pipelines.jobs.other_teachers import require_no_others
from pipelines.jobs.plan import Speeds, make_plan
from pipelines.jobs.publish import publish, select
from pipelines.jobs.split_sizes import split_sizes
from pipelines.media.images import decode_image
from pipelines.media.preprocess import resize_to_square
from pipelines.report.page import render_page
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.splits import Split
from pipelines.teachers.outline import outline_teacher
from schemas.errors import IdentityError, IncompleteError, UnknownNameError, UsageError
from schemas.features import View
from tests.jobs import normalized_split as made
from tests.jobs.planted import Rows, Table, replant
from tests.jobs.test_cache_cli import invoke

BOTH: tuple[View, ...] = ("identity", "hflip")


def run(plan: CachePlan) -> None:
    for planned in plan.stages:
        for unit in planned.units:
            planned.stage.run(unit)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return made.normalize(tmp_path, made.Stills(count=6))


def names(plan: CachePlan) -> list[str]:
    return [array.feature.array_name for array in plan.arrays]


def arrays_of(plan: CachePlan) -> dict[str, FeatureArray]:
    return {a.feature.array_name: a for planned in plan.stages for a in planned.stage.arrays}


class TestAsking:
    def test_only_features_of_images_have_views(self) -> None:
        asked = expand_features(["image.trunk", "text", "prompts.iou"], BOTH)
        assert [(item.name, item.view) for item in asked] == [
            ("image.trunk", "identity"),
            ("image.trunk", "hflip"),
            ("text.tokens", "identity"),
            ("text.mask", "identity"),
            ("prompts.iou", "identity"),
        ]

    def test_without_identity_the_others_are_left_out(self) -> None:
        asked = expand_features(["image.trunk@int8", "text"], ["hflip"])
        assert [(item.name, item.view, item.codec) for item in asked] == [
            ("image.trunk", "hflip", "int8")
        ]

    def test_nothing_left_is_an_error(self) -> None:
        with pytest.raises(UsageError, match="no view but identity of text, memory"):
            expand_features(["text", "memory"], ["hflip"])

    def test_an_array_that_names_its_view_says_how_to_ask(self) -> None:
        with pytest.raises(UsageError, match=r"Add --views hflip in its place"):
            expand_features(["image.trunk~hflip"])


def test_features_are_those_of_the_mirrored_image(split: Split) -> None:
    plan = made.plan(split, "image.trunk", views=BOTH)
    assert names(plan) == ["image.trunk", "image.trunk~hflip"]
    run(plan)
    teacher = made.load_tiny()
    stored = {name: array.read([0, 3]) for name, array in arrays_of(plan).items()}
    for place, row in enumerate([0, 3]):
        sample = split.samples(0)[row]
        image_HWC = decode_image(split.read_image(0, sample), sample.key)
        for name, shown_HWC in (
            ("image.trunk", image_HWC),
            ("image.trunk~hflip", image_HWC[:, ::-1].copy()),
        ):
            batch = resize_to_square(shown_HWC, teacher.spec.preprocess.image_size)[None]
            live = teacher.encode_images(batch)["image.trunk"][0]
            assert np.allclose(stored[name][place], live, atol=2e-3)
    # Neither is the mirrored map of the other: that is why they are cached.
    mirrored = stored["image.trunk"][..., ::-1]
    assert not np.allclose(mirrored, stored["image.trunk~hflip"], atol=0.1)


def test_a_view_that_is_added_changes_no_byte_of_the_others(split: Split, tmp_path: Path) -> None:
    run(made.plan(split, "image.trunk"))
    before = made.tree(tmp_path)
    added = made.plan(split, "image.trunk", views=BOTH)
    assert [(item.stage.name, len(item.units)) for item in added.stages] == [
        ("image", 0),
        ("image~hflip", 2),
    ]
    run(added)
    after = made.tree(tmp_path)
    assert before.items() < after.items()
    assert all("/image.trunk~hflip/" in key for key in after.keys() - before.keys())


def test_with_prompts_the_trunk_of_each_view_runs_once(split: Split) -> None:
    plan = made.plan(split, "image.trunk", "prompts", views=BOTH)
    stages = {
        item.stage.name: [array.feature.array_name for array in item.stage.arrays]
        for item in plan.stages
    }
    assert stages["image~hflip"] == ["image.trunk~hflip"]
    assert stages["prompts"][0] == "image.trunk"
    assert "image.trunk~hflip" not in stages["prompts"]


def test_another_teacher_of_another_view_is_another_teacher_too(split: Split) -> None:
    """A view that is added shall be of the teacher that has made the others."""
    run(made.plan(split, "image.trunk"))
    added = made.plan(split, "image.trunk", views=["hflip"])
    require_no_others(added)
    changed = msgspec.structs.replace(added.teacher, libraries={"torch": "9.9"})
    with pytest.raises(IdentityError, match=r"libraries.torch: '9.9' != "):
        require_no_others(replace(added, teacher=changed))


def test_an_unfinished_view_says_how_to_finish_it(split: Split) -> None:
    run(made.plan(split, "image.trunk"))
    (planned,) = made.plan(split, "image.trunk", views=["hflip"]).stages
    planned.stage.run(planned.units[0])
    command = r"samdistill cache made-up --split stills --features image.trunk --views hflip"
    with pytest.raises(IncompleteError, match=command):
        publish(split.store, "all", select(split.store, []))
    published = publish(split.store, "one", select(split.store, [], features=["image.trunk"]))
    (only,) = published.manifest.splits[0].features
    assert only.feature.view == "identity"


def test_the_page_shows_no_mirrored_map_beside_an_image(split: Split) -> None:
    run(made.plan(split, "image.trunk", views=["hflip"]))
    published = publish(split.store, "all", select(split.store, []))
    page = render_page(split.store, published)
    assert "image.trunk~hflip" in page
    assert "first principal component" not in page


class TestExport:
    @pytest.fixture
    def published(self, split: Split) -> PublishedManifest:
        run(made.plan(split, "image.trunk", views=BOTH))
        return publish(split.store, "all", select(split.store, []))

    def test_by_default_features_are_of_the_images_that_go_with_them(
        self, published: PublishedManifest
    ) -> None:
        (chosen,), _ = choose(published.manifest, [], None, None)
        assert list(chosen.features) == ["image.trunk"]
        (asked,), _ = choose(published.manifest, [], ["image.trunk~hflip"], None)
        assert asked.features["image.trunk~hflip"].feature.view == "hflip"

    def test_a_dump_cannot_say_that_images_were_mirrored(
        self, published: PublishedManifest
    ) -> None:
        specs = [item.feature for item in published.manifest.splits[0].features]
        DumpFormat(LAYOUTS["efficientsam3"], specs[:1])
        with pytest.raises(UsageError, match=r"of images as they are.*got image.trunk~hflip"):
            DumpFormat(LAYOUTS["efficientsam3"], specs[1:])


class TestAudit:
    @staticmethod
    def recompute(split: Split) -> Audit:
        published = publish(split.store, "all", select(split.store, []))
        return audit(split.store, published, lambda _: made.load_tiny(), Amount.parse("100%"))

    def test_each_view_is_compared_with_its_own_image(self, split: Split) -> None:
        run(made.plan(split, "image.trunk", views=BOTH))
        found = self.recompute(split)
        assert found.findings == []
        assert {item.array: item.compared for item in found.arrays} == {
            "image.trunk": 5,
            "image.trunk~hflip": 5,
        }

    def test_a_row_of_the_image_as_it_is_is_found(self, split: Split) -> None:
        plan = made.plan(split, "image.trunk", views=BOTH)
        run(plan)
        arrays = arrays_of(plan)

        def put_the_other(rows: Rows, _table: Table) -> None:
            other = np.empty(arrays["image.trunk"].feature.stored_shape, dtype=np.float16)
            arrays["image.trunk"].read_into(2, other)
            rows[2] = other

        replant(arrays["image.trunk~hflip"], 0, put_the_other)
        (finding,) = self.recompute(split).findings
        assert "image.trunk~hflip" in finding.key
        assert "row 2, 'still-002', is not what the teacher computes" in finding.problem


def test_a_plan_counts_a_pass_for_each_view_and_reads_one(split: Split) -> None:
    sizes = split_sizes(split.store, "made-up", [], rows_per_shard=64)
    speeds = Speeds(source="recorded", seconds={"sample": 3600, "prompt": 36}, write_gb=1)
    outline = outline_teacher("tiny")

    def plan(views: tuple[str, ...]) -> tuple[float, int, int | None]:
        wanted = expand_features(["image.trunk", "prompts.iou"], views)
        made_plan = make_plan(split.store, "tiny", outline, sizes, wanted, speeds, free=None)
        (planned,) = made_plan.splits
        return planned.device_hours["sample"], planned.epoch_reads, planned.epoch_bytes

    hours, reads, epoch = plan(("identity",))
    assert (hours, reads) == (5, 15)
    assert plan(BOTH) == (10, reads, epoch)


class TestCommands:
    @pytest.fixture
    def root(self, split: Split, tmp_path: Path) -> Path:
        del split
        result = invoke(
            tmp_path,
            "--features",
            "image.trunk",
            "--views",
            "identity,hflip",
            "--max-quarantined",
            "2",
        )
        assert result.exit_code == 0, result.output
        return tmp_path

    def test_cached_and_trained_in_both_views(self, root: Path) -> None:
        publish(LocalObjectStore(root), "all", select(LocalObjectStore(root), []))
        out = root.parent / "out"
        command = ["train", "all", "--root", str(root), "--out", str(out), "--batch", "2"]
        command += ["--student", "efficientvit_b0", "--steps", "2", "--device", "cpu"]
        both = CliRunner().invoke(build_app(), [*command, "--views", "identity,hflip"])
        assert both.exit_code == 0, both.output
        other = CliRunner().invoke(build_app(), command)
        assert isinstance(other.exception, IdentityError)
        assert "config.views: ('identity',) != ('identity', 'hflip')" in str(other.exception)

    def test_a_view_that_nobody_knows(self, tmp_path: Path, split: Split) -> None:
        del split
        result = invoke(tmp_path, "--views", "identity,vflip")
        assert isinstance(result.exception, UnknownNameError)
        assert "Did you mean hflip" in str(result.exception)
