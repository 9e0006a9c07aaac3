"""Rank files, as EdgeSAM and EfficientSAM3 read them; a shard is what one rank has written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.exchange.base import ExportedShard, ExportRecord
from pipelines.exchange.dump_layout import (
    SEED_BYTES,
    DumpLayout,
    epoch_folder,
    keys_name,
    values_name,
)
from pipelines.exchange.shard_content import ShardContent
from pipelines.exchange.staged_stream import new_file
from pipelines.store.arrays import as_bytes
from pipelines.store.commits import put_identical
from pipelines.store.objects import ObjectStore
from pipelines.store.tables import table_record
from schemas.errors import UsageError
from schemas.features import FeatureSpec
from schemas.manifests import FileRecord

_BY_FILE_NAME = frozenset({"coco", "lvis"})
"""Data sets whose samples those programs name by file; others by the file's stem."""


class DumpFormat:
    """See ``ExportFormat``."""

    def __init__(self, layout: DumpLayout, features: Sequence[FeatureSpec]) -> None:
        names = [spec.array_name for spec in features]
        fits = [spec for spec in features if spec.codec == "float16" and spec.item_shape]
        # A dump cannot say that its images were mirrored.
        if len(features) != 1 or not fits or fits[0].view != "identity":
            raise UsageError(
                f"a dump as {layout.name}'s holds one feature of float16, of images as they are",
                expected="one --feature, for example image.trunk",
                got=", ".join(names) or "none",
            )
        channels = features[0].item_shape[0]
        self._folder = f"{epoch_folder(channels, 0)}/" if layout.by_epoch else ""

    def write_shard(
        self, target: ObjectStore, place: str, content: ShardContent
    ) -> tuple[tuple[FileRecord, ...], Any]:
        """See ``ExportFormat.write_shard``."""
        split, _, number = place.rpartition("/")
        folder = f"{split}/{self._folder}"
        lines = "".join(f"{key}\n" for key in _keys(split, content)).encode()
        with new_file(target, folder + values_name(int(number))) as values:
            for features in content.features():
                (row,) = features.values()
                # The seed is of an augmentation, and none was done.
                values.stream.write(bytes(SEED_BYTES))
                values.stream.write(as_bytes(row))
        assert values.record is not None
        keys = table_record(folder + keys_name(int(number)), lines)
        put_identical(target, keys, lines)
        return (keys, values.record), None

    def finish(
        self,
        target: ObjectStore,
        record: ExportRecord,
        shards: Mapping[str, Sequence[ExportedShard]],
    ) -> None:
        """Write nothing: such a folder has no index."""


def _keys(split: str, content: ShardContent) -> Iterator[str]:
    dataset = split.partition("/")[0]
    for key, extension in zip(
        content.facts["key"].to_pylist(), content.facts["extension"].to_pylist(), strict=True
    ):
        yield f"{key}.{extension}" if dataset in _BY_FILE_NAME else key
