"""WebDataset: one tar per shard, and a list of them in the layout of the ``wids`` index.

A sample is ``{key}.jpg``, ``{key}.json`` and ``{key}.{feature}.npy``. WebDataset cuts names at the
first dot, so a frame of a clip is ``{clip}/{frame}.jpg`` here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from webdataset import TarWriter

from pipelines.exchange.base import ExportedShard, ExportRecord
from pipelines.exchange.shard_content import ShardContent
from pipelines.exchange.staged_stream import new_file
from pipelines.store.arrays import as_bytes
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import table_record
from schemas.ids import canonical_json
from schemas.manifests import FileRecord


class WebDatasetFormat:
    """See ``ExportFormat``."""

    def write_shard(
        self, target: ObjectStore, place: str, content: ShardContent
    ) -> tuple[tuple[FileRecord, ...], Any]:
        """See ``ExportFormat.write_shard``."""
        with new_file(target, f"{place}.tar") as file:
            # No time, no owner: the bytes depend on the samples alone.
            tar = TarWriter(file.stream, user="", group="", mode=0o644, encoder=False, mtime=0)
            rows = zip(content.described(), content.images(), content.features(), strict=True)
            for facts, image, features in rows:
                tar.write(_members(facts, image, features))
            tar.close()
        assert file.record is not None
        return (file.record,), None

    def finish(
        self,
        target: ObjectStore,
        record: ExportRecord,
        shards: Mapping[str, Sequence[ExportedShard]],
    ) -> None:
        """Write ``index.json`` of each split."""
        del record
        for split, written in shards.items():
            index = {
                "__kind__": "wids-shard-index-v1",
                "wids_version": 1,
                "name": split,
                "shardlist": [_listed(shard) for shard in written],
            }
            key, body = f"{split}/index.json", canonical_json(index)
            put_identical(target, table_record(key, body), body)


def _members(
    facts: dict[str, Any], image: bytes, features: Mapping[str, npt.NDArray[Any]]
) -> dict[str, Any]:
    return {
        "__key__": facts["key"].replace(".", "/", 1),
        facts["extension"]: image,
        "json": canonical_json(facts),
        **{f"{name}.npy": _npy(stored) for name, stored in features.items()},
    }


def _npy(stored: npt.NDArray[Any]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(stored))
    return b"".join((header.getvalue(), as_bytes(stored)))


def _listed(shard: ExportedShard) -> dict[str, Any]:
    (file,) = shard.files
    name = file.key.rpartition("/")[2]
    return {"url": name, "nsamples": shard.samples, "filesize": file.bytes}
