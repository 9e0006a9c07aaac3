"""MDS, the format of MosaicML Streaming; written by its own library.

``StreamingDataset(local=DIR, split="coco/val2017")`` opens a split. A sample has ``key``, ``image``
(encoded, as published), ``extension``, ``facts`` (JSON) and each feature as an ndarray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from streaming import MDSWriter

from pipelines.exchange.base import ExportedShard, ExportRecord
from pipelines.exchange.library_files import publish_file, scratch_folder
from pipelines.exchange.shard_content import ShardContent
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
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
        self._columns = {"key": "str", "image": "bytes", "extension": "str", "facts": "json"}
        for spec in features:
            kind = np.dtype(get_codec(spec.codec).stored).name
            shape = ",".join(map(str, spec.stored_shape))
            self._columns[spec.array_name] = f"ndarray:{kind}:{shape}"

    def write_shard(
        self, target: ObjectStore, place: str, content: ShardContent
    ) -> tuple[tuple[FileRecord, ...], Any]:
        """See ``ExportFormat.write_shard``."""
        with scratch_folder(target) as folder:
            with MDSWriter(
                out=str(folder / "mds"), columns=self._columns, size_limit=_FILE_BYTES
            ) as writer:
                rows = zip(content.described(), content.images(), content.features(), strict=True)
                for facts, image, features in rows:
                    names = {"key": facts["key"], "extension": facts["extension"]}
                    writer.write({**names, "image": image, "facts": facts, **features})
            return _publish(target, folder / "mds", place)

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


def _publish(
    target: ObjectStore, folder: Path, place: str
) -> tuple[tuple[FileRecord, ...], list[dict[str, Any]]]:
    """Store the files under names of their own, and return what the index says of them."""
    index = msgspec.json.decode((folder / "index.json").read_bytes())
    files, entries = [], []
    for number, entry in enumerate(index["shards"]):
        name = entry["raw_data"]["basename"]
        key = f"{place}.{shard_name(number)}.mds"
        files.append(publish_file(target, folder / name, key))
        basename = key.rpartition("/")[2]
        entries.append({**entry, "raw_data": {**entry["raw_data"], "basename": basename}})
    return tuple(files), entries
