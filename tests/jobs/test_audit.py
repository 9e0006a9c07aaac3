from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from pipelines.jobs.asked_features import expand_features
from pipelines.jobs.audit import Audit, audit
from pipelines.jobs.audit_amount import Amount
from pipelines.jobs.cache import CacheOptions, plan_cache
from pipelines.jobs.publish import publish, select
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher, TeacherOptions
from schemas.errors import IdentityError, StorageError, UsageError
from schemas.manifests import Manifest
from tests.jobs import normalized_split as made
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.planted import Rows, Table, replant
from tests.jobs.sample_root import STILLS, build_root, cache, normalize, stills

ALL = Amount.parse("100%")


def test_the_text_context_is_taken_from_the_manifest(tmp_path: Path) -> None:
    live = ColourTeacher().spec
    assert live.tokenize is not None
    spec = msgspec.structs.replace(live, tokenize=msgspec.structs.replace(live.tokenize, context=5))
    manifest = Manifest(name="x", teachers={spec.digest: spec}, splits=())
    published = PublishedManifest(key="", version=1, digest="", manifest=manifest)
    asked: list[TeacherOptions] = []

    def load(options: TeacherOptions) -> Teacher:
        asked.append(options)
        return ColourTeacher()

    with pytest.raises(IdentityError, match=r"tokenize.context: 5 != 12"):
        audit(LocalObjectStore(tmp_path), published, load, ALL, device="cuda")
    assert [(item.text_context, item.device) for item in asked] == [(5, "cuda")]


class TestColours:
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalObjectStore:
        store = LocalObjectStore(tmp_path / "root")
        build_root(store, ColourTeacher())
        return store

    @pytest.fixture
    def published(self, store: LocalObjectStore) -> PublishedManifest:
        return publish(store, "all", select(store, []))

    @staticmethod
    def compare(
        store: LocalObjectStore, published: PublishedManifest, amount: str, seed: int = 0
    ) -> Audit:
        return audit(store, published, lambda _: ColourTeacher(seed), Amount.parse(amount))

    def test_the_rows_are_the_same_each_time(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        first = self.compare(store, published, "2")
        assert first == self.compare(store, published, "2")
        assert first.findings == []

    def test_a_share_takes_a_row_of_each_shard(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        found = self.compare(store, published, "0.1%")
        rows = {(item.split, item.array, item.shard): len(item.compared) for item in found.shards}
        assert rows[*("album/val", "image.trunk"), 0] == rows[*("album/val", "image.trunk"), 1] == 1
        assert rows["album/val", "text.tokens", 0] == rows["album/val", "text.mask", 0] == 1
        assert rows["camera/val", "memory.maskmem", 0] == 1
        assert all(item.drawn == item.shards for item in found.arrays)

    def test_rows_of_one_kind_are_the_same_in_all_arrays(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        found = self.compare(store, published, "3")
        drawn: dict[int, list[list[int]]] = {}
        for item in found.shards:
            if item.array.startswith("memory."):
                drawn.setdefault(item.shard, []).append([row.row for row in item.compared])
        for rows in drawn.values():
            assert rows == 4 * rows[:1]
        assert sum(len(rows[0]) for rows in drawn.values()) == 3

    def test_quarantined_rows_are_counted_and_not_computed(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        found = self.compare(store, published, "100%")
        (trunk,) = (a for a in found.arrays if (a.split, a.array) == ("album/val", "image.trunk"))
        assert (trunk.compared, trunk.absent, trunk.findings) == (3, 1, 0)

    def test_a_listener_hears_of_all_rows(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        heard: list[tuple[int, int]] = []
        audit(
            store,
            published,
            lambda _: ColourTeacher(),
            Amount.parse("2"),
            listener=lambda done, total: heard.append((done, total)),
        )
        # Two samples and two phrases of stills; two frames and two object-frames of clips.
        assert heard[-1] == (8, 8)

    def test_another_teacher_is_refused_by_field(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        with pytest.raises(IdentityError, match=r"wanted != found: weights: '[0-9a-f]+' !="):
            self.compare(store, published, "1", seed=1)

    def test_of_two_teachers_the_live_one_is_compared(self, store: LocalObjectStore) -> None:
        other = ColourTeacher(seed=1)
        cache(Split.open(store, *STILLS), other)
        first = ColourTeacher().spec.digest
        chosen = select(store, ["album"], teachers=[first, other.spec.digest])
        found = self.compare(store, publish(store, "two", chosen), "1", seed=1)
        assert all(other.spec.digest in item.file for item in found.shards)
        assert found.findings == []
        assert f"album/val image.trunk/{first}" in found.others


def test_a_manifest_without_features_is_refused(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path / "root")
    normalize(store, STILLS, [stills()[:2]])
    published = publish(store, "plain", select(store, []))
    with pytest.raises(UsageError, match="no features"):
        audit(store, published, lambda _: ColourTeacher(), ALL)


def test_rows_that_cannot_be_computed_are_rightly_absent(tmp_path: Path) -> None:
    """A still, and a clip, that cannot be read."""
    stills = made.normalize(tmp_path, made.Stills(count=3))
    clips = made.normalize(tmp_path, made.Clips(count=1))
    for split, wanted, rows in ((stills, "image", [1]), (clips, "memory", range(7))):
        (planned,) = made.plan(split, wanted).stages
        planned.stage.run(planned.units[0])
        for array in planned.stage.arrays:
            replant(array, 0, partial(leave_out, rows))
    published = publish(stills.store, "all", select(stills.store, []))
    made.rot_image(stills, 0, 1)
    made.rot_image(clips, 0, 1)
    found = audit(stills.store, published, lambda _: made.load_tiny(), ALL)
    assert found.findings == []
    absent = {(item.split, item.array): item.absent for item in found.arrays}
    assert absent["made-up/stills", "image.trunk"] == 1
    assert absent["made-up/clips", "memory.maskmem"] == 7


def leave_out(absent: Iterable[int], rows: Rows, table: Table) -> None:
    for row in absent:
        rows[row], table[row]["quarantine"] = None, "undecodable: broken off"


def test_prompts_of_any_teacher_are_compared(tmp_path: Path) -> None:
    split = made.normalize(tmp_path, made.Stills(count=3))
    wanted = expand_features(["prompts"])
    plan = plan_cache(split, ColourTeacher(), ColourTeacher, wanted, CacheOptions())
    (planned,) = plan.stages
    planned.stage.run(planned.units[0])
    published = publish(split.store, "all", select(split.store, []))
    found = audit(split.store, published, lambda _: ColourTeacher(), ALL)
    assert found.findings == []
    assert {item.array: item.compared for item in found.arrays}["prompts.mask_logits"] == 6


def test_a_root_that_does_not_answer_makes_no_row_rightly_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = made.normalize(tmp_path, made.Stills(count=3))
    (planned,) = made.plan(split, "image").stages
    planned.stage.run(planned.units[0])
    (trunk,) = planned.stage.arrays
    replant(trunk, 0, partial(leave_out, [1]))
    published = publish(split.store, "all", select(split.store, []))

    def refuse(self: Split, shard: int, sample: object) -> bytes:
        raise StorageError("the bucket is down")

    monkeypatch.setattr(Split, "read_image", refuse)
    (shard,) = audit(split.store, published, lambda _: made.load_tiny(), ALL).shards
    assert shard.absent == 0
    problems = [(item.problem, item.got) for item in shard.findings]
    assert len(problems) == 2
    assert all(got == "the bucket is down" for _, got in problems)
    assert any("is absent and cannot be computed" in problem for problem, _ in problems)
