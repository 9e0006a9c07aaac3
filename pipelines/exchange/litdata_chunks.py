"""LitData chunks; written by its own library.

``StreamingDataset("DIR/coco/val2017")`` opens a split. A sample has ``key``, ``image`` (encoded, as
published), ``extension``, ``facts`` (JSON text) and each feature as an array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from litdata.streaming.writer import BinaryWriter

from pipelines.exchange.base import ExportedShard, ExportRecord
from pipelines.exchange.library_files import publish_file, scratch_folder
from pipelines.exchange.shard_content import ShardContent
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import table_record
from schemas.ids import canonical_json, shard_name
from schemas.manifests import FileRecord

_FILE_BYTES = 256 << 20


class LitDataFormat:
    """See ``ExportFormat``."""

    def write_shard(
        self, target: ObjectStore, place: str, content: ShardContent
    ) -> tuple[tuple[FileRecord, ...], Any]:
        """See ``ExportFormat.write_shard``."""
        with scratch_folder(target) as folder:
            writer = BinaryWriter(str(folder), chunk_bytes=_FILE_BYTES)
            rows = zip(content.described(), content.images(), content.features(), strict=True)
            for number, (facts, image, features) in enumerate(rows):
                item = {
                    "key": facts["key"],
                    "extension": facts["extension"],
                    "image": image,
                    "facts": canonical_json(facts).decode(),
                    **features,
                }
                writer.add_item(number, item)
            writer.done()
            return _publish(target, folder, place)

    def finish(
        self,
        target: ObjectStore,
        record: ExportRecord,
        shards: Mapping[str, Sequence[ExportedShard]],
    ) -> None:
        """Write ``index.json`` of each split."""
        del record
        for split, written in shards.items():
            parts = [shard.index for shard in written if shard.index is not None]
            index = {
                "chunks": [chunk for part in parts for chunk in part["chunks"]],
                "config": parts[0]["config"] if parts else None,
                # Its own writer puts the time here, and readers compare it to find a new version.
                "updated_at": "0",
            }
            key, body = f"{split}/index.json", canonical_json(index)
            put_identical(target, table_record(key, body), body)


def _publish(
    target: ObjectStore, folder: Path, place: str
) -> tuple[tuple[FileRecord, ...], dict[str, Any] | None]:
    """Store the chunks under names of their own, and return what the index says of them."""
    found = sorted(folder.glob("*index.json"))
    if not found:
        return (), None
    index = msgspec.json.decode(found[0].read_bytes())
    files, chunks = [], []
    for number, chunk in enumerate(index["chunks"]):
        key = f"{place}.{shard_name(number)}.bin"
        files.append(publish_file(target, folder / chunk["filename"], key))
        chunks.append({**chunk, "filename": key.rpartition("/")[2]})
    return tuple(files), {"chunks": chunks, "config": index["config"]}
