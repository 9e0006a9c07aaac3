from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
from awscrt.checksums import crc32c

from pipelines.jobs.audit import Comparison, recompute
from pipelines.jobs.publish import publish, select
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from pipelines.store.shard_file import index_bytes
from pipelines.store.splits import Split
from pipelines.teachers.base import Teacher, TeacherOptions
from pipelines.teachers.load import load_teacher
from schemas.codec import CODECS
from schemas.errors import IdentityError, UsageError
from schemas.manifests import Manifest
from tests.jobs import normalized_split as made
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import CLIPS, STILLS, build_root, cache, clips, normalize, stills

COUNT = 3


class Sam3Root:
    """A root whose features the tiny SAM3 computed."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalObjectStore(folder / "root")
        self.teacher_cache = folder / "teachers"
        teacher = self.load(TeacherOptions())
        cache(normalize(self.store, STILLS, [stills()[:2]]), teacher)
        cache(normalize(self.store, CLIPS, clips(1, 3), "video"), teacher)
        self.published = publish(self.store, "all", select(self.store, []))

    def load(self, options: TeacherOptions) -> Teacher:
        return load_teacher("tiny", options, cache=self.teacher_cache)


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Sam3Root:
    return Sam3Root(tmp_path_factory.mktemp("sam3"))


def test_the_tiny_sam3_agrees_with_what_it_stored(sam3: Sam3Root) -> None:
    found = list(recompute(sam3.store, sam3.published, sam3.load, COUNT))
    rows: dict[tuple[str, str], int] = {}
    for item in found:
        assert item.is_close, item
        rows[item.split, item.feature] = rows.get((item.split, item.feature), 0) + 1
    assert rows == {
        ("album/val", "image.trunk"): 2,
        ("album/val", "text.tokens"): COUNT,
        ("album/val", "text.mask"): COUNT,
        ("camera/val", "image.trunk"): COUNT,
        ("camera/val", "memory.mask_logits"): COUNT,
        ("camera/val", "memory.maskmem"): COUNT,
        ("camera/val", "memory.object_pointer"): COUNT,
        ("camera/val", "memory.object_score"): COUNT,
        ("camera/val", "memory.iou"): COUNT,
    }


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
        list(recompute(LocalObjectStore(tmp_path), published, load, 1, device="cuda"))
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
        store: LocalObjectStore, published: PublishedManifest, count: int, seed: int = 0
    ) -> list[Comparison]:
        return list(recompute(store, published, lambda _: ColourTeacher(seed), count))

    def test_the_rows_are_the_same_each_time(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        first = self.compare(store, published, 2)
        assert first == self.compare(store, published, 2)
        assert all(item.is_close for item in first)

    def test_quarantined_rows_are_passed_over(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        found = self.compare(store, published, 100)
        assert sum(item.split == "album/val" and "trunk" in item.feature for item in found) == 3

    def test_a_changed_row_is_a_finding(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        trunk = next(f for f in published.manifest.splits[0].features if "trunk" in f.feature.name)
        path = store.root / trunk.array.key.replace("zarr.json", "c/0/0/0/0")
        size = trunk.feature.item_bytes
        body = bytearray(path.read_bytes())
        values = np.frombuffer(bytes(body[:size]), dtype="<f2").copy()
        values[values.argmax()] *= 1.01
        chunk = values.tobytes()
        body[: size + 4] = chunk + struct.pack("<I", crc32c(chunk))
        path.write_bytes(body)
        wrong = [item for item in self.compare(store, published, 100) if not item.is_close]
        assert [(item.file, item.row) for item in wrong] == [
            (path.relative_to(store.root).as_posix(), 0)
        ]
        assert "difference 0.0" in str(wrong[0].finding())

    def test_another_teacher_is_refused_by_field(
        self, store: LocalObjectStore, published: PublishedManifest
    ) -> None:
        with pytest.raises(IdentityError, match=r"another teacher: weights: '[0-9a-f]+' !="):
            self.compare(store, published, 1, seed=1)

    def test_of_two_teachers_the_live_one_is_compared(self, store: LocalObjectStore) -> None:
        other = ColourTeacher(seed=1)
        cache(Split.open(store, *STILLS), other)
        digests = [ColourTeacher().spec.digest, other.spec.digest]
        chosen = select(store, ["album"], teachers=digests)
        found = self.compare(store, publish(store, "two", chosen), 1, seed=1)
        assert found
        assert all(other.spec.digest in item.file for item in found)
        assert all(item.is_close for item in found)


def test_a_manifest_without_features_is_refused(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path / "root")
    normalize(store, STILLS, [stills()[:2]])
    published = publish(store, "plain", select(store, []))
    with pytest.raises(UsageError, match="no features"):
        list(recompute(store, published, lambda _: ColourTeacher(), 1))


@pytest.mark.parametrize("codec", sorted(CODECS.keys() - {"uint8"}))
def test_every_codec_is_recomputed_and_a_shifted_row_is_found(codec: str, tmp_path: Path) -> None:
    """Whatever the codec: sound rows pass, rows that stand in each other's place do not."""
    name = "image.trunk" if codec == "float16" else f"image.trunk@{codec}"
    split = made.normalize(tmp_path, made.Stills(count=4))
    (planned,) = made.plan(split, name).stages
    for unit in planned.units:
        planned.stage.run(unit)
    published = publish(split.store, "all", select(split.store, []))
    found = list(recompute(split.store, published, lambda _: made.load_tiny(), 4))
    assert [item.is_close for item in found] == [True] * 4
    array = planned.stage.arrays[0]
    path = Path(split.store.url, array.shard_key(0))
    _swap_rows(path, array, 0, 1)
    wrong = [
        item.row
        for item in recompute(split.store, published, lambda _: made.load_tiny(), 4)
        if not item.is_close
    ]
    assert wrong == [0, 1]


def _swap_rows(path: Path, array: FeatureArray, left: int, right: int) -> None:
    """Let two rows of a shard point to each other's chunk, with a sound index."""
    slots, body = array.record.rows_per_shard, bytearray(path.read_bytes())
    begin = len(body) - index_bytes(slots)
    index = np.frombuffer(bytes(body[begin:-4]), "<u8").reshape(slots, 2).copy()
    index[[left, right]] = index[[right, left]]
    body[begin:] = index.tobytes() + struct.pack("<I", crc32c(index.tobytes()))
    path.write_bytes(body)
