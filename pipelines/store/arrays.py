"""Feature arrays: ordinary zarr v3 arrays whose shards are written and read directly.

``zarr.open_array`` opens each of them; this module is the fast path (see docs/format.md).
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipelines.store import layout
from pipelines.store.objects import ObjectStore, StagedFile
from pipelines.store.shard_file import ShardReader, ShardWriter
from schemas.codec import get_codec
from schemas.codec_base import Extent
from schemas.errors import DataError, IdentityError
from schemas.features import FeatureSpec, differing_fields
from schemas.ids import canonical_json, digest_bytes, parse_json
from schemas.manifests import ArrayRecord, FileRecord

_ATTRIBUTE = "samdistill"
_DECODING = "decoding"
"""How other tools get values out of a row of bytes; absent when it is one number per value."""
_ZARR_TYPES = {"<f4": "float32", "<f2": "float16", "<u2": "uint16", "|u1": "uint8"}
_CACHED_INDEXES = 4096


@dataclass(frozen=True, slots=True)
class StagedShard:
    """A shard being written, under the file that will hold it."""

    writer: ShardWriter
    staged: StagedFile


class FeatureArray:
    """One array of one teacher over one split."""

    def __init__(self, store: ObjectStore, record: ArrayRecord) -> None:
        self.store, self.record = store, record
        self.folder = layout.array_folder(
            record.dataset, record.split, record.teacher.digest, record.feature.array_name
        )
        self.codec = get_codec(record.feature.codec)
        self._readers: OrderedDict[int, ShardReader] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[FeatureArray], tuple[ObjectStore, ArrayRecord]]:
        return FeatureArray, (self.store, self.record)

    @classmethod
    def open(cls, store: ObjectStore, folder: str) -> FeatureArray:
        """Open an array by the folder that holds its zarr.json."""
        return cls(store, read_array_record(store, folder))

    @property
    def feature(self) -> FeatureSpec:
        """What a row is."""
        return self.record.feature

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the stored values."""
        return np.dtype(self.codec.stored)

    def create(self) -> FileRecord:
        """Write zarr.json if it is not there, and check that it says the same if it is.

        Raises
        ------
        IdentityError
            The folder holds an array of another split or shape.
        """
        key = layout.array_metadata_key(self.folder)
        body = canonical_json(zarr_metadata(self.record))
        if not self.store.put_if_absent(key, body):
            self.require_same()
        return FileRecord(key=key, bytes=len(body), blake3=digest_bytes(body))

    def require_same(self) -> None:
        """Refuse what is stored in the folder, unless it is this very array.

        Raises
        ------
        IdentityError
            The message names each field of zarr.json that differs, with both values.
        """
        self._require_same(read_array_record(self.store, self.folder))

    def require_same_or_new(self) -> None:
        """As ``require_same``, but the array need not exist yet."""
        stored = find_array_record(self.store, self.folder)
        if stored is not None:
            self._require_same(stored)

    def _require_same(self, stored: ArrayRecord) -> None:
        if changed := differing_fields(self.record, stored):
            raise IdentityError(
                f"{layout.array_metadata_key(self.folder)} belongs to another array, "
                f"wanted != stored: {'; '.join(changed)}",
                fix="If the split was normalized anew, remove the features made from the old one; "
                "otherwise restore the file.",
            )

    def shard_key(self, shard: int) -> str:
        """Key of a shard's file."""
        return layout.array_shard_key(self.folder, shard, 1 + len(self.feature.stored_shape))

    @contextlib.contextmanager
    def stage_shard(self, shard: int) -> Iterator[StagedShard]:
        """Open a new shard; write rows, ``finish``, then publish the staged file."""
        with (
            self.store.stage(self.shard_key(shard)) as staged,
            ShardWriter(staged, self.record.rows_per_shard, self.feature.item_bytes) as writer,
        ):
            yield StagedShard(writer, staged)

    def encode(self, values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
        """Return one row in its stored form; non-finite values and other shapes are refused."""
        require_shape(self.feature, values.shape, where)
        return self.codec.encode(values, where)

    def extent(self, stored: npt.NDArray[Any]) -> Extent:
        """Return the least and the greatest value of a stored row."""
        return self.codec.extent(stored, self.feature.item_shape)

    def reader(self, shard: int) -> ShardReader:
        """Return the reader of a shard; its index is read once and kept."""
        with self._lock:
            found = self._readers.get(shard)
            if found is not None:
                self._readers.move_to_end(shard)
                return found
        reader = ShardReader(
            self.store,
            self.shard_key(shard),
            self.record.rows_per_shard,
            self.feature.item_bytes,
        )
        with self._lock:
            self._readers[shard] = reader
            while len(self._readers) > _CACHED_INDEXES:
                self._readers.popitem(last=False)
        return reader

    def read_into(self, row: int, out: npt.NDArray[Any], *, verify: bool = True) -> None:
        """Fill ``out``, of the stored type and C-contiguous, with array row ``row``."""
        shard, slot = divmod(row, self.record.rows_per_shard)
        self.reader(shard).read_into(slot, as_bytes(out), verify=verify)

    def read(self, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return array rows, decoded to float32 ``[len(rows), *item_shape]``."""
        stored = np.empty((len(rows), *self.feature.stored_shape), dtype=self.dtype)
        for place, row in enumerate(rows):
            self.read_into(row, stored[place, ...])
        return self.codec.decode(stored, self.feature.item_shape)


def require_shape(feature: FeatureSpec, shape: tuple[int, ...], where: str) -> None:
    """Raise ``DataError``, which names ``where``, unless one row of the feature has this shape."""
    if shape != feature.item_shape:
        raise DataError(
            f"{where}: {feature.name}", expected=f"shape {feature.item_shape}", got=shape
        )


def as_bytes(values: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of a C-contiguous array, of any shape, without a copy."""
    return memoryview(values.reshape(-1).view(np.uint8).data)


def read_array_record(store: ObjectStore, folder: str) -> ArrayRecord:
    """Return what the zarr.json of ``folder`` says of the array."""
    key = layout.array_metadata_key(folder)
    metadata = parse_json(store.get(key), dict[str, Any], key)
    try:
        return msgspec.convert(metadata["attributes"][_ATTRIBUTE], ArrayRecord)
    except (KeyError, TypeError, msgspec.ValidationError) as cause:
        raise DataError(f"{key} has no valid attribute {_ATTRIBUTE!r}: {cause}") from cause


def find_array_record(store: ObjectStore, folder: str) -> ArrayRecord | None:
    """Return what the zarr.json of ``folder`` says of the array; None when there is none."""
    try:
        return read_array_record(store, folder)
    except FileNotFoundError:
        return None


def zarr_metadata(record: ArrayRecord) -> dict[str, Any]:
    """Return the zarr v3 metadata document of an array."""
    feature, codec = record.feature, get_codec(record.feature.codec)
    item = list(feature.stored_shape)
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    if np.dtype(codec.stored).itemsize == 1:
        little = {"name": "bytes"}
    attributes = {_ATTRIBUTE: msgspec.to_builtins(record)}
    if parts := codec.parts(feature.item_shape):
        attributes[_DECODING] = {"parts": msgspec.to_builtins(parts), "value": codec.formula}
    sharding = {
        "chunk_shape": [1, *item],
        "codecs": [little, {"name": "crc32c"}],
        "index_codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "crc32c"},
        ],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [record.shards * record.rows_per_shard, *item],
        "data_type": _ZARR_TYPES[codec.stored],
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [record.rows_per_shard, *item]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0 if codec.stored in {"<u2", "|u1"} else 0.0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["row", *[None] * len(item)],
        "attributes": attributes,
    }
