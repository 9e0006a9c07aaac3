from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.engine.executor import LocalExecutor, Slice
from pipelines.engine.progress import Progress
from pipelines.engine.work import RunReport, Stage, WorkUnit
from pipelines.exchange.dump_keys import DumpKeys, parse_keys
from pipelines.exchange.dump_layout import LAYOUTS
from pipelines.exchange.dump_reader import Dump
from pipelines.exchange.export import Export
from pipelines.exchange.import_dump import identify, measure_coverage, plan_import
from pipelines.jobs.cache import CachePlan
from pipelines.jobs.finish_split import Budget
from pipelines.jobs.publish import publish, select
from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.local import LocalObjectStore
from pipelines.store.open import open_store
from pipelines.store.published import find_manifest
from pipelines.store.rows import expected_rows
from pipelines.store.splits import Split
from pipelines.store.tables import read_table
from pipelines.store.verify import verify_manifest
from schemas.errors import BudgetError, DataError, IncompleteError, UsageError
from schemas.ids import digest_bytes
from schemas.tables import FEATURE_ROWS
from tests.contracts.stage_contract import StageContract
from tests.exchange.dumps import SHAPE, Values, feature, read_dump, write_rank
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import STILLS, build_root, normalize, stills
from tests.s3_server import serving_s3

SOUND = ("astronaut", "cat", "dahlia")
"""The samples of ``build_root``; a fourth one, coins, is quarantined."""


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    root = LocalObjectStore(tmp_path / "root")
    normalize(root, STILLS, [stills()[:2], stills()[2:]])
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dump by two ranks, whose sampler has given the first sample to both."""
    split_keys = [sample.key for sample in stills() if sample.quarantine is None]
    first, second = split_keys[::2], [*split_keys[1::2], split_keys[0]]
    write_rank(tmp_path / "dump", 0, [(key, value_of(key)) for key in first])
    write_rank(
        tmp_path / "dump",
        1,
        [(key, feature(99) if key == split_keys[0] else value_of(key)) for key in second],
    )
    return tmp_path / "dump"


def value_of(key: str) -> Values:
    return feature(int(digest_bytes(key.encode())[:8], 16))


def open_dump(
    folder: Path | str, kind: str = "efficientsam3", shape: tuple[int, ...] = SHAPE, **choice: Any
) -> Dump:
    return Dump(open_store(str(folder)), LAYOUTS[kind], item_shape=shape, **choice)


def plan(store: LocalObjectStore, dump: Dump, budget: str = "1%") -> CachePlan:
    teacher = identify(dump, "float16-autocast", None)
    return plan_import(Split.open(store, *STILLS), teacher, Budget.parse(budget), Slice())


def run(made: CachePlan) -> tuple[FeatureArray, RunReport]:
    (planned,) = made.stages
    report = LocalExecutor().run(planned.stage, list(planned.units), Progress(len(planned.units)))
    return planned.stage.arrays[0], report


def stored(array: FeatureArray) -> dict[str, bytes]:
    """The bytes of each stored row, by key, read through the row tables."""
    found = {}
    for shard in range(array.record.shards):
        rows = read_table(array.store, f"{array.folder}/rows-{shard:05d}.parquet", FEATURE_ROWS)
        for row in rows.to_pylist():
            if row["quarantine"] is None:
                out = np.empty(array.feature.stored_shape, array.dtype)
                array.read_into(row["row"], out)
                found[row["key"]] = out.tobytes()
    return found


def reasons(array: FeatureArray) -> dict[str, str]:
    tables = [
        read_table(array.store, f"{array.folder}/rows-{shard:05d}.parquet", FEATURE_ROWS)
        for shard in range(array.record.shards)
    ]
    rows = pa.concat_tables(tables).to_pylist()
    return {row["key"]: row["quarantine"] for row in rows if row["quarantine"]}


def sound_keys() -> set[str]:
    return {sample.key for sample in stills() if sample.quarantine is None}


class TestImport:
    def test_every_sample_has_the_bytes_of_its_record(
        self, store: LocalObjectStore, folder: Path
    ) -> None:
        array, report = run(plan(store, open_dump(folder)))
        assert (report.done, report.failures) == (2, ())
        assert stored(array) == {key: value_of(key).tobytes() for key in sound_keys()}
        assert reasons(array) == {"coins": "undecodable: cut short after 1,024 bytes"}

    def test_of_a_repeated_key_the_lowest_rank_counts_and_is_told(
        self, store: LocalObjectStore, folder: Path
    ) -> None:
        made = plan(store, open_dump(folder))
        assert made.notes == ("1 records repeat a key: the first counts, by rank",)
        first = next(sample.key for sample in stills())
        assert stored(run(made)[0])[first] != feature(99).tobytes()

    def test_file_names_are_keys_too(self, store: LocalObjectStore, tmp_path: Path) -> None:
        names = [
            f"{key}.{end}" for key, end in zip(sound_keys(), cycle(["jpg", "JPEG"]), strict=False)
        ]
        write_rank(tmp_path / "dump", 0, [(name, value_of(Path(name).stem)) for name in names])
        array, _ = run(plan(store, open_dump(tmp_path / "dump")))
        assert stored(array) == {key: value_of(key).tobytes() for key in sound_keys()}

    def test_it_stands_beside_what_is_there_and_changes_no_byte(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path / "root")
        build_root(store, ColourTeacher())
        publish(store, "all", select(store, []))
        before = tree(store)
        write_rank(tmp_path / "dump", 0, [(key, value_of(key)) for key in SOUND])
        made = plan(store, open_dump(tmp_path / "dump"))
        run(made)
        teachers = [ColourTeacher().spec.digest, made.teacher.digest]
        published = publish(store, "all", select(store, ["album"], teachers=teachers))
        assert published.version == 2
        assert set(published.manifest.teachers) == set(teachers)
        assert before.items() < tree(store).items()
        assert not verify_manifest(store, published, deep=True).findings

    def test_a_bucket_is_read_as_a_folder_is(self, store: LocalObjectStore, folder: Path) -> None:
        with serving_s3():
            bucket = open_store("s3://bucket/some/dump")
            for path in folder.iterdir():
                bucket.put_if_absent(path.name, path.read_bytes())
            array, _ = run(plan(store, open_dump("s3://bucket/some/dump")))
        assert stored(array) == {key: value_of(key).tobytes() for key in sound_keys()}

    def test_the_identity_is_the_checkpoint_or_the_dump_itself(
        self, folder: Path, tmp_path: Path
    ) -> None:
        dump = open_dump(folder)
        one = identify(dump, "float16-autocast", None).spec
        assert one.weights == f"dump:{dump.digest()}"
        assert one.digest == identify(open_dump(folder), "float16-autocast", None).spec.digest
        named = identify(dump, "float16-autocast", "ab" * 32).spec
        assert named.weights == "file:" + "ab" * 32
        assert identify(dump, "float32", "ab" * 32).spec.digest != named.digest
        flip(folder / "rank1-values.bin", 40)
        assert identify(open_dump(folder), "float16-autocast", None).spec.digest != one.digest

    def test_memory_does_not_grow_with_the_dump(self, tmp_path: Path) -> None:
        shape, store = (256, 64, 64), LocalObjectStore(tmp_path / "root")
        normalize(store, STILLS, [stills()])
        keys = [f"other-{number}" for number in range(400)] + sorted(sound_keys())
        (tmp_path / "dump").mkdir()
        with (tmp_path / "dump/rank0-values.bin").open("wb") as values:
            values.truncate(400 * (4 + 2 * 256 * 64 * 64))
            values.seek(0, os.SEEK_END)
            for key in keys[400:]:
                values.write(bytes(4) + np.full(shape, len(key), "<f2").tobytes())
        (tmp_path / "dump/rank0-keys.txt").write_text("".join(f"{key}\n" for key in keys))
        tracemalloc.start()
        run(plan(store, open_dump(tmp_path / "dump", shape=shape)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (tmp_path / "dump/rank0-values.bin").stat().st_size > 800e6
        assert peak < 200e6


def tree(store: LocalObjectStore) -> dict[str, str]:
    files = (path for path in store.root.rglob("*") if path.is_file())
    return {str(path): f"{path.stat().st_ino} {digest_bytes(path.read_bytes())}" for path in files}


def flip(path: Path, offset: int) -> None:
    body = bytearray(path.read_bytes())
    body[offset] ^= 1
    path.write_bytes(body)


class TestRoundTrip:
    @pytest.mark.parametrize("kind", ["efficientsam3", "edgesam"])
    def test_export_and_import_again_give_the_same_files(
        self, kind: str, store: LocalObjectStore, folder: Path, tmp_path: Path
    ) -> None:
        array, _ = run(plan(store, open_dump(folder)))
        publish(store, "all", select(store, []))
        made = Export(store, find_manifest(store, "all"), kind)
        made.run(LocalObjectStore(tmp_path / "out"), lambda *_: None)
        split = tmp_path / "out" / "/".join(STILLS)
        place = split / "logits_top6_epoch0" if kind == "edgesam" else split
        read = read_dump(place)
        assert {key: value.tobytes() for key, value in read.items()} == stored(array)
        other = LocalObjectStore(tmp_path / "other")
        normalize(other, STILLS, [stills()[:2], stills()[2:]])
        again, _ = run(plan(other, open_dump(split)))
        for shard in range(2):
            key, mine = array.shard_key(shard), again.shard_key(shard)
            assert other.get(mine) == store.get(key)

    def test_a_shard_without_features_is_a_rank_without_records(
        self, store: LocalObjectStore, folder: Path, tmp_path: Path
    ) -> None:
        late = {sample.key for sample in stills()[2:]} & sound_keys()
        only(folder, late)
        array, _ = run(plan(store, open_dump(folder), budget="100%"))
        publish(store, "all", select(store, []))
        made = Export(store, find_manifest(store, "all"), "efficientsam3")
        made.run(LocalObjectStore(tmp_path / "out"), lambda *_: None)
        split = tmp_path / "out" / "/".join(STILLS)
        assert {path.stat().st_size for path in split.glob("rank0-*")} == {0}
        assert {key: value.tobytes() for key, value in read_dump(split).items()} == stored(array)
        other = LocalObjectStore(tmp_path / "other")
        normalize(other, STILLS, [stills()[:2], stills()[2:]])
        again, _ = run(plan(other, open_dump(split), budget="100%"))
        assert stored(again) == stored(array)

    def test_coco_is_exported_by_file_name_as_its_loaders_ask(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path / "root")
        normalize(store, ("coco", "val"), [stills()])
        keys = sorted(sound_keys())
        write_rank(tmp_path / "dump", 0, [(f"{key}.jpg", value_of(key)) for key in keys])
        teacher = identify(open_dump(tmp_path / "dump"), "float32", None)
        run(plan_import(Split.open(store, "coco", "val"), teacher, Budget(), Slice()))
        publish(store, "all", select(store, []))
        Export(store, find_manifest(store, "all"), "efficientsam3").run(
            LocalObjectStore(tmp_path / "out"), lambda *_: None
        )
        assert set(read_dump(tmp_path / "out/coco/val")) == {f"{key}.jpg" for key in keys}

    def test_one_feature_of_float16_is_asked_for(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path / "root")
        build_root(store, ColourTeacher())
        publish(store, "all", select(store, []))
        with pytest.raises(UsageError, match=r"one feature of float16.*got none"):
            Export(store, find_manifest(store, "all"), "edgesam", features=[])


class TestWhatIsMissing:
    def test_a_sample_without_a_record_is_quarantined_within_the_budget(
        self, store: LocalObjectStore, folder: Path
    ) -> None:
        gone = min(sound_keys())
        only(folder, sound_keys() - {gone})
        made = plan(store, open_dump(folder), budget="50%")
        assert f"1 of {len(sound_keys())} samples have no record: they are quarantined" in (
            made.notes
        )
        array, report = run(made)
        assert not report.failures
        assert reasons(array)[gone] == "not-in-dump: the dump has no record of this sample"
        assert stored(array).keys() == sound_keys() - {gone}

    def test_too_many_are_refused_before_anything_is_written(
        self, store: LocalObjectStore, folder: Path
    ) -> None:
        only(folder, sorted(sound_keys())[:2])
        with pytest.raises(BudgetError, match=r"are not in .*dump; expected 1 at most"):
            plan(store, open_dump(folder))
        assert not (store.root / "features").exists()

    def test_keys_of_no_sample_are_left_aside_and_counted(
        self, store: LocalObjectStore, tmp_path: Path
    ) -> None:
        keys = [*sound_keys(), "stranger", "another"]
        write_rank(tmp_path / "dump", 0, [(key, value_of(key)) for key in keys])
        made = plan(store, open_dump(tmp_path / "dump"))
        assert made.notes == ("2 keys of the dump name no sample here: they are left aside",)
        assert stored(run(made)[0]).keys() == sound_keys()

    def test_the_dump_of_another_data_set_is_refused_with_keys_of_both(
        self, store: LocalObjectStore, tmp_path: Path
    ) -> None:
        write_rank(tmp_path / "dump", 0, [("sa_1", feature(1)), ("sa_2", feature(2))])
        with pytest.raises(DataError, match=r"no key .* names a sample of album/val.*sa_1, sa_2"):
            plan(store, open_dump(tmp_path / "dump"))

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (np.zeros(SHAPE, np.float16), "no-values: its record holds nothing but zeros"),
            (np.full(SHAPE, np.nan, np.float16), "unstorable: "),
            (np.full(SHAPE, np.inf, np.float16), "unstorable: "),
        ],
    )
    def test_a_hole_in_the_file_and_values_that_are_none_are_quarantined(
        self, store: LocalObjectStore, tmp_path: Path, value: Values, reason: str
    ) -> None:
        bad, *sound = sorted(sound_keys())
        records = [(bad, value), *((key, value_of(key)) for key in sound)]
        write_rank(tmp_path / "dump", 0, records)
        array, report = run(plan(store, open_dump(tmp_path / "dump")))
        assert not report.failures
        assert reasons(array)[bad].startswith(reason)
        assert stored(array).keys() == set(sound)


def only(folder: Path, keys: Any) -> None:
    """Make it a dump of these keys alone, by one rank."""
    for path in folder.iterdir():
        path.unlink()
    write_rank(folder, 0, [(key, value_of(key)) for key in keys])


def cut(name: str, count: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        os.truncate(path, path.stat().st_size - count)

    return damage


def remove(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def append(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(text)

    return damage


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (
            cut("rank1-values.bin", 100),
            DataError,
            (
                r"rank1-values.bin does not fit its keys.*4 whole.* 144 bytes.*cut short: "
                r"copy it again.*the first 4 lines of the keys and cut the values to 976 bytes"
            ),
        ),
        (cut("rank0-values.bin", 244), DataError, r"whole records and 0 bytes.*cut short"),
        (append("rank0-values.bin", "x" * 244), DataError, r"Keys are missing: copy it again"),
        (cut("rank0-keys.txt", 2), DataError, r"rank0-keys.txt ends within a line"),
        (append("rank0-keys.txt", "\n"), DataError, r"line \d+ of .*rank0-keys.txt is empty"),
        (remove("rank0-keys.txt"), IncompleteError, r"rank0-keys.txt missing.*3 of 4 files"),
        (remove("rank1-values.bin"), IncompleteError, r"rank1-values.bin missing"),
        (
            remove("rank0-keys.txt", "rank0-values.bin"),
            IncompleteError,
            r"rank0-keys.txt, rank0-values.bin missing.*both files of 2 ranks",
        ),
        (
            remove("rank0-keys.txt", "rank0-values.bin", "rank1-keys.txt", "rank1-values.bin"),
            IncompleteError,
            r"has no dump.*only then",
        ),
    ],
)
def test_what_is_damaged_is_named(
    folder: Path, damage: Callable[[Path], None], error: type[Exception], match: str
) -> None:
    damage(folder)
    with pytest.raises(error, match=match):
        open_dump(folder)


def test_another_embedding_is_named_with_a_guess(folder: Path) -> None:
    with pytest.raises(DataError, match=r"Perhaps add --shape 6x4x5"):
        open_dump(folder, shape=(12, 4, 5))
    with pytest.raises(DataError, match=r"another shape: name it by --shape CxHxW\."):
        open_dump(folder, shape=(12, 7, 7))


def test_a_file_that_shrinks_while_it_is_read_is_no_feature(
    store: LocalObjectStore, folder: Path
) -> None:
    made = plan(store, open_dump(folder))
    os.truncate(folder / "rank0-values.bin", 300)
    _, report = run(made)
    assert {failure.kind for failure in report.failures} == {"data"}
    assert all("cut short" in failure.error for failure in report.failures)


class TestEpochs:
    @pytest.fixture
    def passes(self, tmp_path: Path) -> Path:
        for epoch in (0, 3):
            write_rank(tmp_path / f"passes/logits_top6_epoch{epoch}", 0, [("a", feature(epoch))])
        return tmp_path / "passes"

    def test_one_is_chosen(self, passes: Path) -> None:
        out = np.empty(SHAPE, "<f2")
        open_dump(passes, "edgesam", epoch=3).read_into(0, as_bytes(out))
        assert out.tobytes() == feature(3).tobytes()
        assert open_dump(passes / "logits_top6_epoch0", "edgesam").folder == ""

    def test_several_without_a_choice_are_refused(self, passes: Path) -> None:
        with pytest.raises(UsageError, match=r"several epochs: .*epoch0, .*epoch3.*--epoch"):
            open_dump(passes, "edgesam")

    def test_one_that_is_not_there_is_refused(self, passes: Path, folder: Path) -> None:
        with pytest.raises(IncompleteError, match=r"_epoch1; .*epoch0, logits_top6_epoch3"):
            open_dump(passes, "edgesam", epoch=1)
        with pytest.raises(IncompleteError, match=r"epoch0; .*got no epochs"):
            open_dump(folder, "edgesam", epoch=0)

    def test_a_folder_that_states_other_channels_is_refused(self, passes: Path) -> None:
        with pytest.raises(DataError, match=r"expected 12 channels; got 6.*--shape 6xHxW"):
            open_dump(passes, "edgesam", shape=(12, 4, 5), epoch=0)


def test_keys_are_found_by_their_first_record() -> None:
    ranks = [parse_keys(body, "x") for body in (b"b.jpg\na\r\n", b"", b"c\na\nb\n")]
    keys = DumpKeys(ranks)
    assert [keys.find(key) for key in ("a", "b", "c", "d", "")] == [1, 0, 2, None, None]
    assert (len(keys), keys.repeated()) == (5, 2)
    assert DumpKeys([parse_keys(b"", "x")]).find("a") is None


def test_coverage_counts_sound_samples_only(store: LocalObjectStore, folder: Path) -> None:
    found = measure_coverage(Split.open(store, *STILLS), open_dump(folder))
    assert (found.samples, found.found, found.unknown) == (len(sound_keys()),) * 2 + (0,)


class TestImportStage(StageContract):
    def prepare(self, root: Path) -> None:
        normalize(LocalObjectStore(root), STILLS, [stills()])
        records = [(key, value_of(key)) for key in sorted(sound_keys())]
        write_rank(root.parent / f"{root.name}-dump", 0, records)

    def make_stage(self, store: LocalObjectStore) -> tuple[Stage, WorkUnit]:
        dump = open_dump(store.root.parent / f"{store.root.name}-dump")
        (planned,) = plan(store, dump).stages
        return planned.stage, planned.stage.units[0]


def test_rows_are_those_of_the_split(store: LocalObjectStore, folder: Path) -> None:
    array, _ = run(plan(store, open_dump(folder)))
    split = Split.open(store, *STILLS)
    for shard in range(2):
        rows = read_table(store, f"{array.folder}/rows-{shard:05d}.parquet", FEATURE_ROWS)
        names = [row["key"] for row in expected_rows(split, array.record, shard)]
        assert rows["key"].to_pylist() == names


def test_a_record_that_begins_with_zeros_is_a_feature(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    first, *others = sorted(sound_keys())
    value = np.zeros(SHAPE, np.float16)
    value[-1, -1, -1] = 1
    write_rank(tmp_path / "dump", 0, [(first, value), *((key, value_of(key)) for key in others)])
    array, report = run(plan(store, open_dump(tmp_path / "dump")))
    assert not report.failures
    assert stored(array)[first] == value.tobytes()


def test_a_hole_between_records_moves_no_other(store: LocalObjectStore, tmp_path: Path) -> None:
    for number, hole in enumerate(sorted(sound_keys())):
        records = [
            (key, np.zeros(SHAPE, np.float16) if key == hole else value_of(key))
            for key in sorted(sound_keys())
        ]
        write_rank(tmp_path / f"dump{number}", 0, records)
        array, _ = run(plan(store, open_dump(tmp_path / f"dump{number}")))
        expected = {key: value.tobytes() for key, value in records if key != hole}
        assert stored(array) == expected


def test_the_identity_of_a_dump_depends_on_its_last_record(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(300)]
    for name, last in (("one", 1), ("two", 2)):
        write_rank(tmp_path / name, 0, [*((key, feature(7)) for key in keys), ("z", feature(last))])
    assert open_dump(tmp_path / "one").digest() != open_dump(tmp_path / "two").digest()
