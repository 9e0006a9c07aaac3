"""A Hugging Face ``datasets`` folder: parquet, and a README that ``load_dataset`` understands.

Features are fixed-size binary columns, exactly what is stored. ``Array3D`` would nest a list per
row of pixels: measured on 10 MB features it writes and reads 10 times slower, and its float16
comes back as float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from pipelines.exchange.base import ExportedShard, ExportRecord
from pipelines.exchange.shard_content import FACT_SCHEMA, ShardContent
from pipelines.exchange.staged_stream import new_file
from pipelines.store.arrays import as_bytes
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import table_record
from schemas.codec import get_codec
from schemas.features import FeatureSpec
from schemas.manifests import FileRecord

_GROUP_BYTES = 64 << 20
"""Of a row group: what a reader holds at once."""
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class HuggingFaceFormat:
    """See ``ExportFormat``."""

    def __init__(self, features: Sequence[FeatureSpec]) -> None:
        self._features = {spec.array_name: spec for spec in features}

    def write_shard(
        self, target: ObjectStore, place: str, content: ShardContent
    ) -> tuple[tuple[FileRecord, ...], Any]:
        """See ``ExportFormat.write_shard``."""
        columns = self._columns()
        # The images and features are compressed, or noise to a compressor.
        plain = {"image.bytes", *self._features}
        with new_file(target, f"{place}.parquet") as file:
            schema = columns.arrow_schema
            writer = pq.ParquetWriter(
                pa.PythonFile(file.stream, mode="w"),
                schema,
                compression={name: "none" if name in plain else "zstd" for name in _leaves(schema)},
                use_dictionary=False,
                write_statistics=False,
            )
            for table in self._groups(content, schema):
                writer.write_table(table, row_group_size=len(table))
            writer.close()
        assert file.record is not None
        return (file.record,), None

    def finish(
        self,
        target: ObjectStore,
        record: ExportRecord,
        shards: Mapping[str, Sequence[ExportedShard]],
    ) -> None:
        """Write README.md: one configuration per data set, one split per split."""
        body = _readme(record, self._columns(), shards).encode()
        put_identical(target, table_record("README.md", body), body)

    def _columns(self) -> datasets.Features:
        found = datasets.Features.from_arrow_schema(FACT_SCHEMA)
        found["image"] = datasets.Image()
        for name, spec in self._features.items():
            found[name] = datasets.Value(f"fixed_size_binary[{spec.item_bytes}]")
        return found

    def _groups(self, content: ShardContent, schema: pa.Schema) -> Iterator[pa.Table]:
        row_bytes = sum(spec.item_bytes for spec in self._features.values())
        rows = max(1, _GROUP_BYTES // (row_bytes + (1 << 20)))
        images, features = content.images(), content.features()
        for start in range(0, len(content), rows):
            facts = content.facts.slice(start, rows)
            taken = list(islice(features, len(facts)))
            columns = {name: facts[name] for name in facts.column_names}
            columns["image"] = _images(facts, list(islice(images, len(facts))))
            for name, spec in self._features.items():
                columns[name] = _binaries([row[name] for row in taken], spec)
            yield pa.table([columns[name] for name in schema.names], schema=schema)


def _images(facts: pa.Table, images: list[bytes]) -> pa.Array:
    names = zip(facts["key"].to_pylist(), facts["extension"].to_pylist(), strict=True)
    rows = [
        {"bytes": body, "path": f"{key}.{extension}"}
        for (key, extension), body in zip(names, images, strict=True)
    ]
    return pa.array(rows, _IMAGE)


def _binaries(rows: list[npt.NDArray[Any]], spec: FeatureSpec) -> pa.Array:
    whole = pa.py_buffer(b"".join(as_bytes(row) for row in rows))
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(spec.item_bytes), len(rows), [None, whole]
    )


def _leaves(schema: pa.Schema) -> list[str]:
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    leaves = pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema
    return [leaves.column(number).path for number in range(len(leaves.names))]


def _readme(
    record: ExportRecord,
    columns: datasets.Features,
    shards: Mapping[str, Sequence[ExportedShard]],
) -> str:
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for split, written in shards.items():
        config, _, folder = split.partition("/")
        # A dash cannot be in the name of a split there.
        name = folder.replace("-", "_")
        info = infos.setdefault(
            config, datasets.DatasetInfo(features=columns, splits=datasets.SplitDict())
        )
        info.splits.add(
            datasets.SplitInfo(
                name=name,
                num_examples=sum(shard.samples for shard in written),
                num_bytes=sum(file.bytes for shard in written for file in shard.files),
            )
        )
        files = configs.setdefault(config, {"data_files": []})["data_files"]
        files.append({"split": name, "path": f"{split}/*.parquet"})
    card = DatasetCardData()
    infos.to_dataset_card_data(card)
    configs.to_dataset_card_data(card)
    return f"---\n{card}\n---\n{_about(record)}"


def _about(record: ExportRecord) -> str:
    lines = [
        "",
        "# Images, annotations and teacher features",
        "",
        f"Exported by samdistill from the manifest with blake3 `{record.manifest}`.",
    ]
    for split in record.splits:
        lines += ["", f"`{split.name}`: licence {split.licence}."]
    if record.teacher is not None:
        teacher = record.teacher
        lines += [
            "",
            f"Teacher {teacher.digest}: {teacher.architecture}, weights {teacher.weights}.",
        ]
    for feature in record.features:
        lines += _how_to_read(feature)
    return "\n".join([*lines, ""])


def _how_to_read(feature: FeatureSpec) -> list[str]:
    name, codec = feature.array_name, get_codec(feature.codec)
    stored, shape = np.dtype(codec.stored).name, list(feature.stored_shape)
    lines = [
        "",
        f"`{name}` holds {feature.codec} rows of shape {list(feature.item_shape)}, C order:",
        f'`numpy.frombuffer(row["{name}"], "{stored}").reshape({shape})`.',
    ]
    if parts := codec.parts(feature.item_shape):
        listed = "; ".join(
            f"{part.name}: {part.data_type} {list(part.shape)} from byte {part.offset}"
            for part in parts
        )
        lines.append(f"Its bytes are {listed}.")
    if codec.formula:
        index = ", g its first index" if parts else ""
        lines.append(f"A value is `{codec.formula}`{index}.")
    return lines
