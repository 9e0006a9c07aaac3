from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.jobs.publish import Selection, publish, select
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import (
    array_record,
    find_manifest,
    manifest_versions,
    read_part,
)
from pipelines.store.row_index import decode_index
from pipelines.store.splits import Split
from schemas.errors import (
    IdentityError,
    IncompleteError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from schemas.ids import digest_bytes
from schemas.tables import FEATURE_INDEX, SAMPLE_INDEX
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import CLIPS, STILLS, build_root, cache

TEACHER = ColourTeacher().spec.digest
ALBUM = Selection(dataset="album", split="val")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    build_root(LocalObjectStore(root), ColourTeacher())
    return root


@pytest.fixture
def store(built: Path, tmp_path: Path) -> LocalObjectStore:
    shutil.copytree(built, tmp_path / "root")
    return LocalObjectStore(tmp_path / "root")


def trunk_folder(teacher: str = TEACHER) -> str:
    return layout.array_folder(*STILLS, teacher, "image.trunk")


def rewrite(store: LocalObjectStore, key: str, change: Callable[[Any], None]) -> None:
    path = store.root / key
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record))


def test_names_every_file_of_the_splits_and_their_features(store: LocalObjectStore) -> None:
    before = set(store.keys("normalized")) | set(store.keys("features"))
    manifest = publish(store, "all", select(store, [])).manifest
    named = set()
    for split in manifest.splits:
        named |= {split.split_file.key, *(file.key for file in split.split.files)}
        named |= {feature.array.key for feature in split.features}
        for part in (split.part, *(feature.part for feature in split.features)):
            named |= set(read_part(store, part).column("key").to_pylist())
    assert named == before
    assert all(product.index is not None for product in manifest.products)
    assert manifest.teachers == {TEACHER: ColourTeacher().spec}


class NarrowListing(LocalObjectStore):
    """Refuses to list what grows with the shards, other than commit records."""

    def keys(self, prefix: str) -> Iterator[str]:
        assert prefix.endswith("/commits") or prefix.startswith("manifests/"), prefix
        return super().keys(prefix)

    def names(self, folder: str, starts: str) -> list[str]:
        assert folder.endswith("/commits"), folder
        return super().names(folder, starts)


def test_lists_no_data_files(store: LocalObjectStore) -> None:
    narrow = NarrowListing(store.root)
    assert publish(narrow, "all", select(narrow, [])).version == 1


def test_counts_shards_rows_and_bytes(store: LocalObjectStore) -> None:
    album = publish(store, "all", [ALBUM]).manifest.splits[0]
    features = {feature.feature.name: feature for feature in album.features}
    assert (album.part.shards, album.part.rows) == (2, 4)
    assert (features["image.trunk"].part.shards, features["image.trunk"].part.rows) == (2, 4)
    assert features["text.mask"].part.rows == album.split.phrases
    assert features["text.mask"].rows_per_shard == 8
    listed = read_part(store, album.part).column("bytes").to_pylist()
    assert album.part.data_bytes == sum(listed)


def test_the_same_content_is_the_same_version(store: LocalObjectStore) -> None:
    first = publish(store, "all", select(store, []))
    again = publish(store, "all", list(reversed(select(store, []))))
    assert again == first
    assert manifest_versions(store, "all") == [1]
    assert find_manifest(store, "all") == first


def test_two_roots_give_the_same_bytes(store: LocalObjectStore, tmp_path: Path) -> None:
    other = LocalObjectStore(tmp_path / "other")
    build_root(other, ColourTeacher())
    left, right = (publish(item, "all", select(item, [])) for item in (store, other))
    assert store.get(left.key) == other.get(right.key)


def test_other_content_is_the_next_version_and_the_old_one_stays(store: LocalObjectStore) -> None:
    first = publish(store, "all", [ALBUM])
    body = store.get(first.key)
    second = publish(store, "all", select(store, []))
    assert (second.version, second.reference) == (2, "all@2")
    assert store.get(first.key) == body


def test_a_later_feature_reads_no_sample_again(store: LocalObjectStore) -> None:
    first = publish(
        store, "all", [Selection(dataset="album", split="val", features=("text.mask",))]
    )
    for shard in range(2):
        (store.root / layout.samples_key("album", "val", shard)).unlink()
    second = publish(store, "all", [ALBUM])
    assert second.manifest.splits[0].index == first.manifest.splits[0].index


def test_an_index_says_where_each_row_lies(store: LocalObjectStore) -> None:
    album = publish(store, "all", [ALBUM]).manifest.splits[0]
    split = Split.open(store, *STILLS)
    assert album.index is not None
    found = decode_index(pa.py_buffer(store.get(album.index.key)), SAMPLE_INDEX, "index")
    samples = [row for shard in range(2) for row in split.samples(shard)]
    assert found.column("key").to_pylist() == [sample.key for sample in samples]
    sound = [sample.quarantine is None for sample in samples]
    assert sound.count(False) == 1
    assert found.column("offset").is_valid().to_pylist() == sound
    for sample, row in zip(samples, found.to_pylist(), strict=True):
        if sample.quarantine is None:
            assert (row["offset"], row["size"]) == (sample.offset, sample.size)
            assert f"{row['digest']:016x}" == sample.blake3[:16]
    trunk = next(item for item in album.features if item.feature.name == "image.trunk")
    assert trunk.index is not None
    rows = decode_index(pa.py_buffer(store.get(trunk.index.key)), FEATURE_INDEX, "index")
    array = FeatureArray(store, array_record(find_manifest(store, "all").manifest, album, trunk))
    expected = [offset for shard in range(2) for offset in array.reader(shard).offsets.tolist()]
    assert rows.column("offset").fill_null(-1).to_pylist() == expected
    assert sum(offset >= 0 for offset in expected) == 3


def test_a_mixture_states_the_weight_of_each_split(store: LocalObjectStore) -> None:
    weights = {"album/val": 3, "camera/val": 1}
    chosen = select(store, [])
    manifest = publish(store, "mix", chosen, weights=weights).manifest
    assert manifest.weights == weights
    assert publish(store, "mix", chosen).version == 2
    with pytest.raises(UsageError, match=r"none for camera/val"):
        publish(store, "mix", chosen, weights={"album/val": 3})
    with pytest.raises(UsageError, match=r"at least 1 for each"):
        publish(store, "mix", chosen, weights=weights | {"camera/val": 0})
    with pytest.raises(UnknownNameError, match=r"Did you mean camera/val"):
        publish(store, "mix", chosen, weights=weights | {"camra/val": 1})


def test_publishers_at_once_get_different_versions(store: LocalObjectStore) -> None:
    names = ["image.trunk", "text.tokens", "text.mask"]
    choices = [[Selection(dataset="album", split="val", features=(name,))] for name in names]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda choice: publish(store, "all", choice), choices))
    assert sorted(item.version for item in found) == [1, 2, 3]
    assert all(find_manifest(store, item.reference) == item for item in found)


def test_an_incomplete_array_is_refused_by_count_and_command(store: LocalObjectStore) -> None:
    (store.root / layout.commit_key(trunk_folder(), 1)).unlink()
    with pytest.raises(IncompleteError, match=r"1 of 2 shards.*samdistill cache.*album") as error:
        publish(store, "all", [ALBUM])
    assert trunk_folder() in str(error.value)
    complete = Selection(dataset="album", split="val", features=("text.tokens",))
    assert publish(store, "all", [complete]).version == 1


def test_an_incomplete_split_is_refused(store: LocalObjectStore) -> None:
    (store.root / layout.commit_key(layout.split_folder(*STILLS), 0)).unlink()
    with pytest.raises(IncompleteError, match="samdistill normalize album"):
        publish(store, "all", [ALBUM])


def test_a_named_feature_that_is_not_cached_is_refused(store: LocalObjectStore) -> None:
    wanted = Selection(dataset="album", split="val", features=("image.trunk@bfloat16",))
    with pytest.raises(IncompleteError, match=r"image\.trunk@bfloat16"):
        publish(store, "all", [wanted])


def test_a_feature_that_a_split_cannot_have_is_passed_over(store: LocalObjectStore) -> None:
    chosen = select(store, [], features=["memory.maskmem"])
    splits = publish(store, "all", chosen).manifest.splits
    names = {split.split.dataset: [f.feature.name for f in split.features] for split in splits}
    assert names == {"album": [], "camera": ["memory.maskmem"]}


def test_an_array_of_another_normalization_is_refused(store: LocalObjectStore) -> None:
    def change(metadata: Any) -> None:
        metadata["attributes"]["samdistill"]["split_digest"] = "0" * 64

    rewrite(store, f"{trunk_folder()}/zarr.json", change)
    with pytest.raises(IdentityError, match="another normalization"):
        publish(store, "all", [ALBUM])


def test_a_shard_of_other_inputs_is_refused(store: LocalObjectStore) -> None:
    def change(commit: Any) -> None:
        commit["inputs"][0]["blake3"] = "0" * 64

    rewrite(store, layout.commit_key(trunk_folder(), 1), change)
    with pytest.raises(IdentityError, match=r"image.trunk/commits/00001.*media-00001"):
        publish(store, "all", [ALBUM])


def test_a_shard_without_inputs_is_refused(store: LocalObjectStore) -> None:
    rewrite(store, layout.commit_key(trunk_folder(), 0), lambda commit: commit.pop("inputs"))
    with pytest.raises(IdentityError, match="no inputs"):
        publish(store, "all", [ALBUM])


def test_a_commit_of_another_teacher_is_refused(store: LocalObjectStore) -> None:
    key = layout.commit_key(trunk_folder(), 0)
    rewrite(store, key, lambda commit: commit.update(identity="f" * 16))
    with pytest.raises(IdentityError, match="another array"):
        publish(store, "all", [ALBUM])


def test_changed_shards_of_a_split_are_refused(store: LocalObjectStore) -> None:
    key = layout.commit_key(layout.split_folder(*STILLS), 0)
    rewrite(store, key, lambda commit: commit.update(identity="other"))
    with pytest.raises(IdentityError, match=r"split.json was written for other shards"):
        publish(store, "all", [ALBUM])


def test_changed_array_metadata_is_refused(store: LocalObjectStore) -> None:
    key = f"{trunk_folder()}/zarr.json"
    rewrite(store, key, lambda metadata: metadata.update(shape=[1, 1, 1, 1]))
    with pytest.raises(IntegrityError, match="changed after the array was created"):
        publish(store, "all", [ALBUM])


def test_a_renamed_array_folder_is_refused(store: LocalObjectStore) -> None:
    (store.root / trunk_folder()).rename(store.root / trunk_folder("0" * 16).replace("/image", "-"))
    other = store.root / layout.array_folder(*STILLS, "0" * 16, "image.trunk")
    other.parent.mkdir()
    (store.root / trunk_folder("0" * 16).replace("/image", "-")).rename(other)
    with pytest.raises(IdentityError, match="folder of another array"):
        publish(store, "all", [ALBUM])


class TestSeveralTeachers:
    OTHER = ColourTeacher(seed=1)

    @pytest.fixture(autouse=True)
    def cached(self, store: LocalObjectStore) -> None:
        cache(Split.open(store, *STILLS), self.OTHER)

    def test_a_choice_is_asked_for(self, store: LocalObjectStore) -> None:
        with pytest.raises(UsageError, match="--teacher DIGEST") as error:
            publish(store, "all", [ALBUM])
        for spec in (ColourTeacher().spec, self.OTHER.spec):
            assert f"{spec.digest} (ColourTeacher, weights {spec.weights[:12]})" in str(error.value)

    @pytest.mark.parametrize("number", [1, 2])
    def test_those_chosen_are_published(self, store: LocalObjectStore, number: int) -> None:
        wanted = (TEACHER, self.OTHER.spec.digest)[:number]
        manifest = publish(store, "all", select(store, ["album"], teachers=wanted)).manifest
        assert set(manifest.teachers) == set(wanted)
        arrays = [(f.feature.name, f.teacher) for f in manifest.splits[0].features]
        assert len(arrays) == 3 * number
        assert arrays == sorted(arrays)

    def test_a_teacher_that_is_not_there_is_refused(self, store: LocalObjectStore) -> None:
        with pytest.raises(UsageError, match="no features of teacher 0123456789abcdef"):
            publish(store, "all", select(store, ["album"], teachers=["0123456789abcdef"]))

    def test_one_wrong_digest_among_right_ones_is_refused(self, store: LocalObjectStore) -> None:
        wanted = [TEACHER, "0123456789abcdef"]
        with pytest.raises(UsageError, match="no features of teacher 0123456789abcdef") as error:
            publish(store, "all", select(store, [], teachers=wanted))
        for digest in (TEACHER, self.OTHER.spec.digest):
            assert digest in str(error.value)
        assert manifest_versions(store, "all") == []

    def test_a_split_without_the_chosen_teacher_is_refused(self, store: LocalObjectStore) -> None:
        wanted = [self.OTHER.spec.digest]
        with pytest.raises(UsageError, match=f"camera/val has features of {TEACHER}"):
            publish(store, "all", select(store, [], teachers=wanted))


class TestSelect:
    def test_names_select_splits(self, store: LocalObjectStore) -> None:
        def places(*names: str) -> list[tuple[str, str]]:
            return [(item.dataset, item.split) for item in select(store, names)]

        assert places() == [STILLS, CLIPS]
        assert places("camera/val", "camera") == [CLIPS]

    def test_an_unknown_name_is_refused(self, store: LocalObjectStore) -> None:
        with pytest.raises(UnknownNameError, match="camera/val"):
            select(store, ["camra/val"])

    def test_an_empty_root_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(IncompleteError, match="samdistill normalize"):
            select(LocalObjectStore(tmp_path / "none"), [])


@pytest.mark.parametrize("name", ["", "a/b", "a@1", "..", ".hidden"])
def test_names_that_are_no_file_names_are_refused(store: LocalObjectStore, name: str) -> None:
    with pytest.raises(UsageError, match="manifest name"):
        publish(store, name, [ALBUM])


def test_a_manifest_of_no_split_or_one_split_twice_is_refused(store: LocalObjectStore) -> None:
    twice = [ALBUM, Selection(dataset="album", split="val", features=("image.trunk",))]
    for selections in ([], twice):
        with pytest.raises(UsageError, match="at least one, each once"):
            publish(store, "all", selections)


def test_adding_features_rewrites_no_byte(store: LocalObjectStore) -> None:
    def tree() -> dict[str, str]:
        files = (path for path in store.root.rglob("*") if path.is_file())
        return {
            str(path): f"{path.stat().st_ino} {digest_bytes(path.read_bytes())}" for path in files
        }

    publish(store, "all", select(store, []))
    before = tree()
    other = ColourTeacher(seed=1)
    for place in (STILLS, CLIPS):
        cache(Split.open(store, *place), other)
    published = publish(store, "all", select(store, [], teachers=[TEACHER, other.spec.digest]))
    after = tree()
    assert published.version == 2
    assert len(published.manifest.teachers) == 2
    assert before.items() < after.items()
