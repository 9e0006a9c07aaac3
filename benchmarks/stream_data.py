"""The samples of bench_stream.py in each format: a JPEG and a 1024x72x72 float16 feature each."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import blake3
import numpy as np
import pyarrow as pa
import torch
from no_teacher import TEACHER
from PIL import Image

from pipelines.store import layout
from pipelines.store.arrays import FeatureArray, as_bytes
from pipelines.store.local import LocalObjectStore
from pipelines.store.row_index import build_feature_index, encode_index
from pipelines.store.tables import encode_columns, table_record
from schemas.features import FeatureSpec
from schemas.ids import canonical_json, digest_bytes
from schemas.manifests import (
    ArrayRecord,
    FileRecord,
    Manifest,
    ManifestFeature,
    ManifestSplit,
    PartRecord,
    SplitRecord,
)
from schemas.tables import SAMPLE_INDEX, SHARD_FILES

SHAPE = (1024, 72, 72)
ITEM_BYTES = 2 * 1024 * 72 * 72
SEED_BYTES = 4
CHUNK_BYTES = 64 << 20
"""The default of LitData and of MDS."""
ROWS_PER_SHARD = 8
_SIZE = (1500, 1125)
_DISTINCT = 8


class Samples:
    """The data: a few distinct photographs and features, repeated."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.count = count
        self._jpegs = [_photograph(rng) for _ in range(_DISTINCT)]
        self._features = rng.standard_normal((_DISTINCT, *SHAPE), dtype=np.float32)
        self._features = self._features.astype(np.float16)

    def jpeg(self, index: int) -> bytes:
        return self._jpegs[index % _DISTINCT]

    def feature(self, index: int) -> np.ndarray:
        return self._features[index % _DISTINCT]


def _photograph(rng: np.random.Generator) -> bytes:
    """Return soft shapes with grain: about as many bytes as a photograph of SA-1B."""
    coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize(_SIZE, Image.Resampling.BICUBIC))
    grain = rng.normal(0, 6, (*soft.shape[:2], 1))
    sink = io.BytesIO()
    Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(sink, "JPEG", quality=85)
    return sink.getvalue()


def write_plain(folder: Path, samples: Samples) -> None:
    """All features in one file, all JPEGs in another, and where each JPEG lies."""
    ends = np.cumsum([len(samples.jpeg(index)) for index in range(samples.count)])
    np.save(folder / "ends.npy", ends)
    (folder / "count").write_bytes(np.int64(samples.count).tobytes())
    with (folder / "features").open("xb") as features, (folder / "jpegs").open("xb") as jpegs:
        for index in range(samples.count):
            features.write(as_bytes(samples.feature(index)))
            jpegs.write(samples.jpeg(index))


def write_records(folder: Path, samples: Samples) -> None:
    """Write image files, and fixed records of a seed and a feature, as EfficientSAM3 keeps them."""
    with (folder / "values.bin").open("xb") as file:
        for index in range(samples.count):
            file.write(index.to_bytes(SEED_BYTES, "little"))
            file.write(as_bytes(samples.feature(index)))
            (folder / f"{index:08d}.jpg").write_bytes(samples.jpeg(index))


def write_webdataset(folder: Path, samples: Samples) -> None:
    import webdataset

    pattern = str(folder / "shard-%05d.tar")
    with webdataset.ShardWriter(pattern, maxsize=CHUNK_BYTES, verbose=0) as writer:
        for index in range(samples.count):
            sample = {"jpg": samples.jpeg(index), "npy": samples.feature(index)}
            writer.write({"__key__": f"{index:08d}", **sample})


def write_mds(folder: Path, samples: Samples) -> None:
    from streaming import MDSWriter

    columns = {"jpeg": "bytes", "x": "ndarray:float16:" + ",".join(map(str, SHAPE))}
    with MDSWriter(out=str(folder), columns=columns, size_limit=CHUNK_BYTES) as writer:
        for index in range(samples.count):
            writer.write({"jpeg": samples.jpeg(index), "x": samples.feature(index)})


def write_litdata(folder: Path, samples: Samples) -> None:
    from litdata.streaming import Cache

    cache = Cache(str(folder), chunk_bytes=CHUNK_BYTES)
    for index in range(samples.count):
        cache[index] = {
            "jpeg": samples.jpeg(index),
            "x": torch.from_numpy(samples.feature(index)),
        }
    cache.done()
    cache.merge()


def write_root(folder: Path, samples: Samples) -> None:
    """Publish ``bench``: media shards, feature shards, indexes and the manifest."""
    store, shards = LocalObjectStore(folder), -(-samples.count // ROWS_PER_SHARD)
    split = SplitRecord(
        dataset="bench",
        split="all",
        media="image",
        shards=shards,
        rows=samples.count,
        rows_per_shard=ROWS_PER_SHARD,
        object_frames_per_shard=0,
        phrases=0,
        counts={},
        quarantined={},
        licence="none",
        normalizer="none",
        sources={},
        commits="none",
        files=(),
    )
    nothing = FileRecord(key="none", bytes=0, blake3="0")
    index, media = _write_media(store, samples, shards)
    published = ManifestSplit(
        split=split,
        split_file=nothing,
        part=_part(store, media, samples.count),
        features=(_write_array(store, samples, shards),),
        index=_put(store, "arrow", encode_index(index)),
    )
    manifest = Manifest(name="bench", teachers={TEACHER.digest: TEACHER}, splits=(published,))
    assert store.put_if_absent(layout.manifest_key("bench", 1), canonical_json(manifest))


def _rows(samples: Samples, shard: int) -> range:
    start = shard * ROWS_PER_SHARD
    return range(start, min(start + ROWS_PER_SHARD, samples.count))


def _write_media(
    store: LocalObjectStore, samples: Samples, shards: int
) -> tuple[pa.Table, list[FileRecord]]:
    rows, records = [], []
    for shard in range(shards):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for index in _rows(samples, shard):
                body = samples.jpeg(index)
                digest = int.from_bytes(blake3.blake3(body).digest(length=8), "big")
                place = {"offset": sink.tell() + 512, "size": len(body), "digest": digest}
                rows.append({**place, "key": f"{index:08d}"})
                info = tarfile.TarInfo(f"{index:08d}.jpg")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
        key = layout.media_key("bench", "all", shard)
        assert store.put_if_absent(key, sink.getvalue())
        records.append(table_record(key, sink.getvalue()))
    return pa.Table.from_pylist(rows, schema=SAMPLE_INDEX), records


def _write_array(store: LocalObjectStore, samples: Samples, shards: int) -> ManifestFeature:
    feature = FeatureSpec(name="image.trunk", rows="sample", item_shape=SHAPE, codec="float16")
    record = ArrayRecord(
        dataset="bench",
        split="all",
        split_digest="0",
        feature=feature,
        teacher=TEACHER,
        shards=shards,
        rows_per_shard=ROWS_PER_SHARD,
    )
    array = FeatureArray(store, record)
    metadata, files = array.create(), []
    for shard in range(shards):
        with array.stage_shard(shard) as target:
            for slot, index in enumerate(_rows(samples, shard)):
                target.writer.write(slot, as_bytes(samples.feature(index)))
            files.append(target.writer.finish())
            assert target.staged.publish()
    index = build_feature_index(array, {file.key: file for file in files})
    return ManifestFeature(
        feature=feature,
        teacher=TEACHER.digest,
        array=metadata,
        rows_per_shard=ROWS_PER_SHARD,
        part=_part(store, files, samples.count),
        index=_put(store, "arrow", encode_index(index)),
    )


def _part(store: LocalObjectStore, files: list[FileRecord], rows: int) -> PartRecord:
    table = pa.table(
        {
            "shard": range(len(files)),
            "rows": [ROWS_PER_SHARD] * len(files),
            "key": [file.key for file in files],
            "bytes": [file.bytes for file in files],
            "blake3": [file.blake3 for file in files],
        },
        schema=SHARD_FILES,
    )
    file = _put(store, "parquet", encode_columns(table))
    return PartRecord(file=file, shards=len(files), rows=rows, data_bytes=0)


def _put(store: LocalObjectStore, ending: str, body: bytes) -> FileRecord:
    key = f"manifests/bench/parts/{digest_bytes(body)}.{ending}"
    store.put_if_absent(key, body)
    return table_record(key, body)


WRITERS = {
    "limit": write_plain,
    "samdistill": write_root,
    "records in DataLoader": write_records,
    "WebDataset": write_webdataset,
    "MDS": write_mds,
    "LitData": write_litdata,
}
