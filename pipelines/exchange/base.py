"""What an export is: its record, the files of its shards, and what a format must be able to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from pipelines.exchange.shard_content import ShardContent
from pipelines.store.objects import ObjectStore
from schemas.features import FeatureSpec, TeacherSpec
from schemas.ids import shard_name
from schemas.manifests import FileRecord

EXPORT_KEY = "export.json"


class ExportedSplit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A split, and the shards of it that are exported."""

    name: str
    """``dataset/split``: the folder of its files."""
    shards: tuple[int, ...]
    licence: str


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an export comes from; ``export.json``, written first: a folder holds one export."""

    schema_version: Literal[1] = 1
    format: str
    manifest: str
    """blake3 of the manifest that it was made from; its name and version may differ by root."""
    teacher: TeacherSpec | None
    features: tuple[FeatureSpec, ...]
    splits: tuple[ExportedSplit, ...]


class ExportedShard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says that one shard is exported: ``commits/…json``, written after its files."""

    schema_version: Literal[1] = 1
    split: str
    shard: int
    samples: int
    files: tuple[FileRecord, ...]
    index: Any = None
    """What the format's own index says of these files."""


class ExportFormat(Protocol):
    """Writes shards, in any order and by several threads, then what makes a whole of them."""

    def write_shard(
        self, target: ObjectStore, place: str, content: ShardContent
    ) -> tuple[tuple[FileRecord, ...], Any]:
        """Write the files of a shard under ``place``; return them and their entry in the index.

        Any attempt must write the same bytes.
        """
        ...

    def finish(
        self,
        target: ObjectStore,
        record: ExportRecord,
        shards: Mapping[str, Sequence[ExportedShard]],
    ) -> None:
        """Write the index of each split, whose shards come in order."""
        ...


def shard_place(split: str, shard: int) -> str:
    """Return where a shard's files go, without an extension."""
    return f"{split}/{shard_name(shard)}"
