"""A teacher dump as it lies in a folder or bucket, checked before anything is taken from it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import blake3
import numpy as np
import pyarrow as pa

from pipelines.exchange.dump_keys import DumpKeys, parse_keys
from pipelines.exchange.dump_layout import (
    SEED_BYTES,
    DumpLayout,
    epoch_folder,
    keys_name,
    values_name,
)
from pipelines.store.objects import ObjectStore
from schemas.errors import DataError, IncompleteError, IntegrityError, UsageError
from schemas.features import FeatureSpec

_FILE = re.compile(r"(?:(?P<folder>.*)/)?rank(?P<rank>\d+)-(?:keys\.txt|values\.bin)")
_EPOCH = re.compile(r"logits_top(?P<channels>\d+)_epoch(?P<epoch>\d+)")
_SAMPLED_RECORDS, _SAMPLED_BYTES = 64, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFile:
    """The records of one rank."""

    key: str
    """Of the file of values."""
    bytes: int
    keys: pa.Array


class Dump:
    """The records of all ranks of one pass, numbered through.

    Parameters
    ----------
    item_shape
        Of the stored feature, when it is not the layout's.
    epoch
        Which pass, when there are several.

    Raises
    ------
    IncompleteError
        There is no dump, not that epoch, or a file of a rank is missing.
    UsageError
        There are several epochs and none is named.
    DataError
        Keys and values do not fit together; the message says how.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: DumpLayout,
        *,
        item_shape: tuple[int, ...] | None = None,
        epoch: int | None = None,
    ) -> None:
        self.store, self.layout = store, layout
        self.feature: FeatureSpec = layout.spec(item_shape)
        self.folder, sizes = _find_folder(store, epoch)
        self._epoch = epoch
        _require_channels(self.folder, self.feature)
        self._record_bytes = SEED_BYTES + self.feature.item_bytes
        self.ranks = [self._open_rank(rank, sizes) for rank in _require_all(self.where, sizes)]
        self._starts = np.cumsum([0, *(len(rank.keys) for rank in self.ranks)])
        self._keys: DumpKeys | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.store, self.layout, self.feature.item_shape, self._epoch)

    @property
    def where(self) -> str:
        """Where the files lie, for people."""
        return f"{self.store.url}/{self.folder}".rstrip("/")

    @property
    def keys(self) -> DumpKeys:
        """Its keys; sorted when first asked for."""
        with self._lock:
            if self._keys is None:
                self._keys = DumpKeys([rank.keys for rank in self.ranks])
            return self._keys

    def read_into(self, number: int, out: memoryview) -> None:
        """Fill ``out`` with the feature of a record, without its seed.

        Raises
        ------
        IntegrityError
            The file has become shorter since it was opened.
        """
        rank = int(np.searchsorted(self._starts, number, side="right")) - 1
        file, record = self.ranks[rank], number - int(self._starts[rank])
        done = self.store.read_into(file.key, record * self._record_bytes + SEED_BYTES, out)
        if done < len(out):
            raise IntegrityError(
                f"record {record} of {self.store.url}/{file.key} is cut short",
                expected=f"{len(out)} bytes",
                got=done,
                fix="Something changes the dump while it is imported.",
            )

    def digest(self) -> str:
        """Return a blake3 of all keys and of pieces of many records: the identity of the dump."""
        found = blake3.blake3()
        for rank in self.ranks:
            found.update(f"{rank.bytes}\n".encode())
            for key in rank.keys.to_pylist():
                found.update(f"{key}\n".encode())
            sampled = _SAMPLED_RECORDS if len(rank.keys) else 0
            for record in np.linspace(0, len(rank.keys) - 1, sampled).astype(int):
                piece = bytearray(min(_SAMPLED_BYTES, self._record_bytes))
                self.store.read_into(rank.key, int(record) * self._record_bytes, memoryview(piece))
                found.update(piece)
        return found.hexdigest()

    def _open_rank(self, rank: int, sizes: dict[str, int]) -> RankFile:
        prefix = f"{self.folder}/" if self.folder else ""
        lines, key = prefix + keys_name(rank), prefix + values_name(rank)
        keys = parse_keys(self.store.get(lines), f"{self.store.url}/{lines}")
        file = RankFile(key=key, bytes=sizes[values_name(rank)], keys=keys)
        if file.bytes != len(keys) * self._record_bytes:
            raise self._misfit(file, lines)
        return file

    def _misfit(self, file: RankFile, lines: str) -> DataError:
        """Return what is wrong with a file of values of another length than its keys ask for."""
        count, shape = len(file.keys), "x".join(map(str, self.feature.item_shape))
        expected = (
            f"{count * self._record_bytes} bytes: for each of the {count} keys of {lines} "
            f"{self._record_bytes} of a seed and float16 {shape}"
        )
        what = f"{self.store.url}/{file.key} does not fit its keys"
        whole, rest = divmod(file.bytes, self._record_bytes)
        got = f"{file.bytes}: {whole} whole records and {rest} bytes"
        if guess := self._other_shape(file):
            return DataError(what, expected=expected, got=got, fix=f"Perhaps add --shape {guess}.")
        if whole >= count:
            return DataError(
                what, expected=expected, got=got, fix="Keys are missing: copy it again."
            )
        fix = "It was cut short: copy it again. "
        if whole:
            fix += (
                f"To go on without its end, keep the first {whole} lines of the keys and cut the "
                f"values to {whole * self._record_bytes} bytes. "
            )
        fix += "Or its features have another shape: name it by --shape CxHxW."
        return DataError(what, expected=expected, got=got, fix=fix)

    def _other_shape(self, file: RankFile) -> str | None:
        """Return the shape that the records have, if they have other channels alone."""
        _, height, width = self.feature.item_shape
        each, rest = divmod(file.bytes, max(1, len(file.keys)))
        channels, odd = divmod(each - SEED_BYTES, 2 * height * width)
        return None if rest or odd or channels < 1 else f"{channels}x{height}x{width}"


def _reopen(
    store: ObjectStore, layout: DumpLayout, item_shape: tuple[int, ...], epoch: int | None
) -> Dump:
    return Dump(store, layout, item_shape=item_shape, epoch=epoch)


def _find_folder(store: ObjectStore, epoch: int | None) -> tuple[str, dict[str, int]]:
    """Return the folder of the wanted epoch, and its files by name with their sizes."""
    folders: dict[str, dict[str, int]] = {}
    for key, size in store.sizes(""):
        if found := _FILE.fullmatch(key):
            files = folders.setdefault(found["folder"] or "", {})
            files[key.rpartition("/")[2]] = size
    epochs = {
        int(found["epoch"]): folder for folder in folders if (found := _EPOCH.fullmatch(folder))
    }
    if epoch is None and "" in folders:
        return "", folders[""]
    if epoch in epochs:
        return epochs[epoch], folders[epochs[epoch]]
    there = ", ".join(epochs[number] for number in sorted(epochs)) or "no epochs"
    if epoch is not None:
        folder = epoch_folder(0, epoch).replace("top0", "top…")
        raise IncompleteError(f"{store.url} has no {folder}", expected="a dump of it", got=there)
    if not epochs:
        raise IncompleteError(
            f"{store.url} has no dump",
            expected=f"{keys_name(0)} and {values_name(0)}, or folders {epoch_folder(256, 0)}",
            fix="The programs move their files there at the end of a pass, and only then.",
        )
    if len(epochs) > 1:
        raise UsageError(
            f"{store.url} has dumps of several epochs: {there}",
            fix="Name one by --epoch: a split has one feature per sample.",
        )
    (folder,) = epochs.values()
    return folder, folders[folder]


def _require_channels(folder: str, feature: FeatureSpec) -> None:
    """Refuse a folder whose name states other channels than the feature has."""
    found = _EPOCH.fullmatch(folder)
    if found and int(found["channels"]) != feature.item_shape[0]:
        raise DataError(
            f"{folder} is a dump of another shape",
            expected=f"{feature.item_shape[0]} channels",
            got=found["channels"],
            fix=f"Name the shape by --shape {found['channels']}xHxW.",
        )


def _require_all(where: str, sizes: dict[str, int]) -> Sequence[int]:
    """Return the ranks, each of which has both of its files."""
    ranks = {int(found["rank"]) for name in sizes if (found := _FILE.fullmatch(name))}
    wanted = range(max(ranks) + 1)
    names = [name for rank in wanted for name in (keys_name(rank), values_name(rank))]
    missing = [name for name in names if name not in sizes]
    if missing:
        raise IncompleteError(
            f"{where} is not complete: {', '.join(missing[:4])} missing",
            expected=f"both files of {len(wanted)} ranks",
            got=f"{len(names) - len(missing)} of {len(names)} files",
            fix="Copy the dump whole: each rank has written a part of the samples.",
        )
    return wanted
