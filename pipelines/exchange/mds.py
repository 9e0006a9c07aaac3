"""MDS, the format of MosaicML Streaming; written here, read by its library.

``StreamingDataset(local=DIR, split="coco/val2017")`` opens a split. A sample has ``key``, ``image``
(encoded, as published), ``extension``, ``facts`` (JSON) and each feature as an ndarray.

The library itself cannot be installed beside this project: mosaicml-streaming 0.13 needs numpy
below 2.2 and transformers below 5. A file is, in little-endian uint32: the number of samples, then
where each begins and the last ends; the configuration as JSON; the samples. A sample is the sizes
of its columns that vary, then all columns, both in the order of their names.
Source: ``streaming/base/format/mds`` of mosaicml-streaming 0.13.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from pipelines.exchange.base import ExportedShard, ExportRecord
from pipelines.exchange.shard_content import ShardContent
from pipelines.exchange.staged_stream import new_file
from pipelines.store.arrays import as_bytes
from pipelines.store.commits import put_identical
from pipelines.store.objects import Buffer, ObjectStore
from pipelines.store.tables import table_record
from schemas.codec import get_codec
from schemas.features import FeatureSpec
from schemas.ids import canonical_json, shard_name
from schemas.manifests import FileRecord

# A reader fetches a file whole before its first sample; offsets within one are 32 bits.
_FILE_BYTES = 256 << 20


class MdsFormat:
    """See ``ExportFormat``."""

    def __init__(self, features: Sequence[FeatureSpec]) -> None:
        columns: dict[str, tuple[str, int | None]] = {
            "key": ("str", None),
            "image": ("bytes", None),
            "extension": ("str", None),
            "facts": ("json", None),
        }
        for spec in features:
            kind = np.dtype(get_codec(spec.codec).stored).name
            shape = ",".join(map(str, spec.stored_shape))
            columns[spec.array_name] = (f"ndarray:{kind}:{shape}", spec.item_bytes)
        self._columns = dict(sorted(columns.items()))
        self._config = {
            "version": 2,
            "format": "mds",
            "compression": None,
            "hashes": [],
            "size_limit": _FILE_BYTES,
            "column_names": list(self._columns),
            "column_encodings": [encoding for encoding, _ in self._columns.values()],
            "column_sizes": [size for _, size in self._columns.values()],
        }

    def write_shard(
        self, target: ObjectStore, place: str, content: ShardContent
    ) -> tuple[tuple[FileRecord, ...], Any]:
        """See ``ExportFormat.write_shard``."""
        heads = [_head(facts) for facts in content.described()]
        sizes = [
            self._sample_bytes(head, image)
            for head, image in zip(heads, content.image_sizes, strict=True)
        ]
        samples = self._samples(heads, content)
        files, entries = [], []
        for number, group in enumerate(_groups(sizes)):
            with new_file(target, f"{place}.{shard_name(number)}.mds") as file:
                file.stream.write(self._head(group))
                for sample in islice(samples, len(group)):
                    for part in sample:
                        file.stream.write(part)
            assert file.record is not None
            files.append(file.record)
            entries.append(self._entry(file.record, len(group)))
        return tuple(files), entries

    def finish(
        self,
        target: ObjectStore,
        record: ExportRecord,
        shards: Mapping[str, Sequence[ExportedShard]],
    ) -> None:
        """Write ``index.json`` of each split."""
        del record
        for split, written in shards.items():
            entries = [entry for shard in written for entry in shard.index]
            key, body = f"{split}/index.json", canonical_json({"version": 2, "shards": entries})
            put_identical(target, table_record(key, body), body)

    def _sample_bytes(self, head: Mapping[str, bytes], image: int) -> int:
        """Return the size of a sample, with those of its columns that vary."""
        varying = [*map(len, head.values()), image]
        fixed = sum(size for _, size in self._columns.values() if size is not None)
        return 4 * len(varying) + sum(varying) + fixed

    def _head(self, sizes: Sequence[int]) -> bytes:
        config = canonical_json(self._config)
        begin = 4 + 4 * (len(sizes) + 1) + len(config)
        offsets = begin + np.cumsum([0, *sizes])
        return np.array([len(sizes), *offsets], "<u4").tobytes() + config

    def _samples(
        self, heads: Sequence[Mapping[str, bytes]], content: ShardContent
    ) -> Iterator[list[Buffer]]:
        for head, image, features in zip(heads, content.images(), content.features(), strict=True):
            values: dict[str, Buffer] = {name: as_bytes(row) for name, row in features.items()}
            values |= {**head, "image": image}
            varying = [len(values[name]) for name, (_, size) in self._columns.items() if not size]
            yield [np.array(varying, "<u4").tobytes(), *(values[name] for name in self._columns)]

    def _entry(self, file: FileRecord, samples: int) -> dict[str, Any]:
        raw = {"basename": file.key.rpartition("/")[2], "bytes": file.bytes, "hashes": {}}
        return {**self._config, "samples": samples, "raw_data": raw, "zip_data": None}


def _head(facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the columns of a sample beside its image and its features."""
    return {
        "key": facts["key"].encode(),
        "extension": facts["extension"].encode(),
        "facts": msgspec.json.encode(facts, order="deterministic"),
    }


def _groups(sizes: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut the samples into files, by the size that a file should not pass."""
    begin, held = 0, 0
    for place, size in enumerate(sizes):
        if held and held + size > _FILE_BYTES:
            yield sizes[begin:place]
            begin, held = place, 0
        held += size
    if held:
        yield sizes[begin:]
