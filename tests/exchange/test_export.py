"""Exports are read back by the libraries themselves, and compared byte by byte with our stream."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.exchange.base import ExportedShard
from pipelines.exchange.export import Export
from pipelines.jobs.publish import publish, select
from pipelines.store import layout
from pipelines.store.arrays import FeatureArray
from pipelines.store.local import LocalObjectStore
from pipelines.store.open import open_store
from pipelines.store.published import find_manifest
from pipelines.store.splits import Split
from pipelines.stream.feature_stream import FeatureStream
from schemas.errors import ConflictError, IntegrityError, StorageError, UnknownNameError, UsageError
from schemas.features import FeatureSpec
from tests.jobs.colour_teacher import ColourTeacher
from tests.jobs.sample_root import CLIPS, STILLS, build_root
from tests.s3_server import serving_s3

TRUNK = "image.trunk"


@dataclass(frozen=True)
class Row:
    """A sample as a reader gives it back."""

    image: bytes
    facts: dict[str, Any]
    trunk: npt.NDArray[Any]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    store = LocalObjectStore(root)
    build_root(store, ColourTeacher())
    publish(store, "all", select(store, []))
    return root


@pytest.fixture(scope="module")
def expected(built: Path) -> dict[str, Row]:
    """What the root holds, by key, read without the exporter: tables and our stream."""
    store = LocalObjectStore(built)
    stream = FeatureStream(store, "all", image_size=None, batch_size=1, epochs=1)
    stored = {batch.keys[0]: batch.features[TRUNK][0].numpy().copy() for batch in stream}
    return {
        row.facts["key"]: row
        for place in (STILLS, CLIPS)
        for row in rows_of(Split.open(store, *place), stored)
    }


def rows_of(split: Split, stored: dict[str, npt.NDArray[Any]]) -> Iterator[Row]:
    for shard in range(split.record.shards):
        objects = split.annotations_table(shard).to_pylist()
        facts = split.samples_table(shard).to_pylist()
        for fact, sample in zip(facts, split.samples(shard), strict=True):
            if sample.quarantine is None:
                mine = [item for item in objects if item["row"] == sample.row]
                yield Row(
                    split.read_image(shard, sample),
                    {"key": fact["key"], "captions": fact["captions"], "objects": mine},
                    stored[sample.key],
                )


def export(root: Path, kind: str, to: Path, **choice: Any) -> tuple[ExportedShard, ...]:
    store = LocalObjectStore(root)
    heard: list[tuple[int, int]] = []
    made = Export(store, find_manifest(store, "all"), kind, **choice)
    done = made.run(LocalObjectStore(to), lambda *now: heard.append(now), threads=2)
    assert heard[-1] == (len(done), len(done))
    return done


def require_equal(got: dict[str, Row], expected: dict[str, Row]) -> None:
    assert got.keys() == expected.keys()
    for key, row in expected.items():
        assert got[key].image == row.image
        assert got[key].trunk.dtype == row.trunk.dtype
        assert np.array_equal(got[key].trunk, row.trunk)
        assert got[key].facts["captions"] == row.facts["captions"]
        require_same_objects(got[key].facts["objects"], row.facts["objects"])


def require_same_objects(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.keys() == theirs.keys() - {"row", "key", "clip", "frame"}
        for name, value in mine.items():
            if name == "mask" and value is not None and "size" in value:
                value = {
                    "height": value["size"][0],
                    "width": value["size"][1],
                    "counts": value["counts"].encode(),
                }
            assert value == theirs[name], name


def read_webdataset(to: Path, split: str) -> dict[str, Row]:
    import webdataset

    shards = sorted(str(path) for path in (to / split).glob("*.tar"))
    found = {}
    for sample in webdataset.WebDataset(shards, shardshuffle=False, empty_check=False):
        facts = json.loads(sample["json"])
        trunk = webdataset.autodecode.npy_loads(sample[f"{TRUNK}.npy"])
        assert sample["__key__"] == facts["key"].replace(".", "/")
        found[facts["key"]] = Row(sample["jpg"], facts, trunk)
    return found


def read_hf(to: Path, split: str) -> dict[str, Row]:
    import datasets

    config, name = split.split("/")
    cache = to.parent / "hf-cache"
    data = datasets.load_dataset(str(to), config, split=name, cache_dir=str(cache))
    return rows_of_hf(data.cast_column("image", datasets.Image(decode=False)))


def rows_of_hf(data: Any) -> dict[str, Row]:
    return {
        row["key"]: Row(
            row["image"]["bytes"],
            row,
            np.frombuffer(row[TRUNK], np.float16).reshape(24, 36, 36),
        )
        for row in data
    }


def read_mds(to: Path, split: str) -> dict[str, Row]:
    """Read it by its layout alone; see also ``read_mds_by_its_library``."""
    index = json.loads((to / split / "index.json").read_text())
    assert index["version"] == 2
    found = {}
    for entry in index["shards"]:
        body = (to / split / entry["raw_data"]["basename"]).read_bytes()
        assert len(body) == entry["raw_data"]["bytes"]
        (count,) = struct.unpack_from("<I", body)
        assert count == entry["samples"]
        offsets = struct.unpack_from(f"<{count + 1}I", body, 4)
        config = json.loads(body[8 + 4 * count : offsets[0]])
        assert config == {name: entry[name] for name in config}
        assert config["column_names"] == sorted(config["column_names"])
        assert offsets[-1] == len(body)
        for begin, end in pairwise(offsets):
            row = _mds_sample(body[begin:end], config)
            found[row["key"]] = Row(row["image"], row["facts"], row[TRUNK])
    return found


_DECODE: dict[str, Callable[[bytes], Any]] = {
    "str": bytes.decode,
    "json": json.loads,
    "bytes": bytes,
}


def _mds_sample(body: bytes, config: dict[str, Any]) -> dict[str, Any]:
    varying = config["column_sizes"].count(None)
    sizes = list(struct.unpack_from(f"<{varying}I", body))
    row, place = {}, 4 * varying
    columns = (config["column_names"], config["column_encodings"], config["column_sizes"])
    for name, encoding, size in zip(*columns, strict=True):
        value = body[place : place + (size or sizes.pop(0))]
        place += len(value)
        kind, _, details = encoding.partition(":")
        if kind == "ndarray":
            data_type, _, shape = details.partition(":")
            row[name] = np.frombuffer(value, data_type).reshape(list(map(int, shape.split(","))))
        else:
            row[name] = _DECODE[kind](value)
    assert place == len(body)
    return row


def read_mds_by_its_library(to: Path, split: str) -> dict[str, Row]:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    data = StreamingDataset(local=str(to), split=split, shuffle=False, batch_size=1)
    return {row["key"]: Row(row["image"], row["facts"], row[TRUNK]) for row in data}


def read_litdata(to: Path, split: str) -> dict[str, Row]:
    from litdata import StreamingDataset

    data = StreamingDataset(str(to / split), shuffle=False)
    return {
        row["key"]: Row(bytes(row["image"]), json.loads(row["facts"]), np.asarray(row[TRUNK]))
        for row in data
    }


READERS: dict[str, tuple[str, Callable[[Path, str], dict[str, Row]]]] = {
    "webdataset": ("webdataset", read_webdataset),
    "hf": ("datasets", read_hf),
    "mds": ("numpy", read_mds),
    "litdata": ("litdata", read_litdata),
}


@pytest.fixture(params=READERS)
def kind(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    pytest.importorskip(READERS[name][0], exc_type=ImportError)
    return name


@pytest.mark.filterwarnings("ignore")
def test_the_library_reads_what_our_stream_reads(
    kind: str, built: Path, tmp_path: Path, expected: dict[str, Row]
) -> None:
    done = export(built, kind, tmp_path / "out")
    assert sum(shard.samples for shard in done) == len(expected) == 11
    got: dict[str, Row] = {}
    for place in (STILLS, CLIPS):
        got |= READERS[kind][1](tmp_path / "out", "/".join(place))
    require_equal(got, expected)
    assert list(got) == list(expected)


@pytest.mark.filterwarnings("ignore")
def test_the_library_of_mds_reads_it_too(
    built: Path, tmp_path: Path, expected: dict[str, Row]
) -> None:
    """Only where it is installed: it cannot be beside transformers 5."""
    pytest.importorskip("streaming", exc_type=ImportError)
    export(built, "mds", tmp_path / "out")
    got: dict[str, Row] = {}
    for place in (STILLS, CLIPS):
        got |= read_mds_by_its_library(tmp_path / "out", "/".join(place))
    require_equal(got, expected)


def test_mds_files_do_not_pass_their_size(
    built: Path, tmp_path: Path, expected: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a single sample does: then it has a file of its own."""
    monkeypatch.setattr("pipelines.exchange.mds._FILE_BYTES", 200_000)
    export(built, "mds", tmp_path / "out", splits=["camera/val"])
    files = sorted((tmp_path / "out/camera/val").glob("*.mds"))
    whole = sum(path.stat().st_size for path in files)
    assert len(files) > 2
    assert whole > 200_000
    counts = []
    for path in files:
        (count,) = struct.unpack_from("<I", path.read_bytes())
        first, *_, last = struct.unpack_from(f"<{count + 1}I", path.read_bytes(), 4)
        assert count == 1 or last - first <= 200_000
        counts.append(count)
    assert max(counts) > 1
    got = read_mds(tmp_path / "out", "camera/val")
    require_equal(got, {key: row for key, row in expected.items() if "." in key})


def test_twice_is_the_same_bytes_and_half_is_completed(
    kind: str, built: Path, tmp_path: Path
) -> None:
    export(built, kind, tmp_path / "one")
    whole = tree(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/commits/album/val/00001.json").unlink()
    (tmp_path / "two/commits/camera/val/00000.json").unlink()
    for path in (tmp_path / "two/camera").rglob("*"):
        if path.is_file():
            path.unlink()
    export(built, kind, tmp_path / "two")
    assert tree(tmp_path / "two") == whole


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_damaged_feature_stops_the_export_before_its_index(
    kind: str, built: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(built, root)
    folder = layout.array_folder(*STILLS, ColourTeacher().spec.digest, TRUNK)
    path = root / layout.array_shard_key(folder, 1, 4)
    body = bytearray(path.read_bytes())
    body[100] ^= 1
    path.write_bytes(body)
    with pytest.raises(IntegrityError, match=r"c/1/0/0/0 is damaged"):
        export(root, kind, tmp_path / "out")
    out = tree(tmp_path / "out")
    assert not any(name.endswith(("index.json", "README.md")) for name in out)
    assert not any(name.startswith("album/val/00001") for name in out)


def test_to_a_bucket(built: Path, tmp_path: Path) -> None:
    export(built, "webdataset", tmp_path / "out")
    store = LocalObjectStore(built)
    with serving_s3():
        bucket = open_store("s3://bucket/out")
        Export(store, find_manifest(store, "all"), "webdataset").run(bucket, lambda *_: None)
        assert {key: bucket.get(key) for key in bucket.keys("")} == tree(tmp_path / "out")


def test_a_choice_is_exported(built: Path, tmp_path: Path) -> None:
    done = export(built, "webdataset", tmp_path / "out", splits=["camera"], features=[])
    assert {shard.split for shard in done} == {"camera/val"}
    assert not (tmp_path / "out/album").exists()
    assert b".npy" not in (tmp_path / "out/camera/val/00000.tar").read_bytes()


def test_the_index_lists_each_tar_with_its_samples_and_bytes(built: Path, tmp_path: Path) -> None:
    export(built, "webdataset", tmp_path / "out", splits=["album/val"])
    index = json.loads((tmp_path / "out/album/val/index.json").read_bytes())
    tars = sorted((tmp_path / "out/album/val").glob("*.tar"))
    assert [(item["url"], item["filesize"]) for item in index["shardlist"]] == [
        (tar.name, tar.stat().st_size) for tar in tars
    ]
    assert [item["nsamples"] for item in index["shardlist"]] == [2, 1]


@pytest.mark.filterwarnings("ignore")
def test_hf_streams_and_decodes(built: Path, tmp_path: Path) -> None:
    import datasets

    export(built, "hf", tmp_path / "out")
    data = datasets.load_dataset(str(tmp_path / "out"), "album", split="val", streaming=True)
    row = next(iter(data))
    assert row["image"].size == (row["width"], row["height"])
    readme = (tmp_path / "out/README.md").read_text()
    line = next(line for line in readme.splitlines() if "numpy.frombuffer" in line)
    import numpy

    assert eval(line.strip("`."), {"numpy": numpy, "row": row}).shape == (24, 36, 36)


class BytesTeacher(ColourTeacher):
    """Its trunk is stored by a codec whose rows are bytes with scales in front."""

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        return super().feature(name, "int8" if name == TRUNK else codec)


@pytest.mark.filterwarnings("ignore")
def test_rows_of_a_codec_with_parts_come_as_stored(tmp_path: Path) -> None:
    import datasets

    root, teacher = tmp_path / "root", BytesTeacher()
    store = LocalObjectStore(root)
    build_root(store, teacher)
    publish(store, "all", select(store, []))
    export(root, "hf", tmp_path / "out", splits=["album"])
    data = datasets.load_dataset(str(tmp_path / "out"), "album", cache_dir=str(tmp_path / "cache"))
    name = f"{TRUNK}@int8"
    array = FeatureArray.open(store, layout.array_folder(*STILLS, teacher.spec.digest, name))
    stored = np.empty(array.feature.stored_shape, dtype=array.dtype)
    for row, got in zip((0, 1, 3), data["val"], strict=True):
        array.read_into(row, stored)
        assert got[name] == stored.tobytes()
    assert "low[g] + step[g] * code[g]" in (tmp_path / "out/README.md").read_text()


class TestRefusals:
    @pytest.mark.parametrize(
        ("choice", "error", "match"),
        [
            ({"kind": "webdatset"}, UnknownNameError, "Did you mean webdataset"),
            ({"splits": ["albun"]}, UnknownNameError, "Did you mean album"),
            ({"features": ["image.trunc"]}, UnknownNameError, r"Did you mean image\.trunk"),
            ({"features": ["text.mask"]}, UsageError, "cannot be exported by sample"),
            ({"teacher": "0123"}, Exception, "no features of teacher 0123"),
        ],
    )
    def test_wrong_names(
        self, built: Path, tmp_path: Path, choice: dict[str, Any], error: type, match: str
    ) -> None:
        with pytest.raises(error, match=match):
            export(built, **{"kind": "webdataset", "to": tmp_path / "out", **choice})
        assert not (tmp_path / "out").exists()

    def test_another_export_in_the_folder(self, built: Path, tmp_path: Path) -> None:
        export(built, "webdataset", tmp_path / "out", splits=["album"])
        with pytest.raises(ConflictError, match=r"another export.*empty folder"):
            export(built, "webdataset", tmp_path / "out")

    def test_a_library_that_is_not_installed(
        self, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("litdata.streaming.writer", "pipelines.exchange.litdata_chunks"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UsageError, match="pip install litdata"):
            export(built, "litdata", tmp_path / "out")

    def test_a_full_disk(
        self, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise StorageError("cannot write: No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("pipelines.store.objects.StagedFile.write", full)
            with pytest.raises(StorageError, match="No space left"):
                export(built, "webdataset", tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.tar"))
