"""Digests of a teacher's weights and configuration, the same wherever the files lie."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3
import msgspec

from schemas.errors import DataError
from schemas.ids import canonical_json, digest_bytes, parse_json

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"

_HEADER_LENGTH_BYTES = 8
# Where the files lie, which library wrote them and how they are run: none of it is the model.
_NOT_CONTENT = frozenset({"architectures", "dtype", "torch_dtype", "transformers_version"})


class _TensorEntry(msgspec.Struct, frozen=True):
    """How the header of a safetensors file describes one tensor."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _WeightsIndex(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredTensor:
    name: str
    entry: _TensorEntry
    body: memoryview


def digest_weights(folder: Path) -> str:
    """Return the blake3 digest over name, dtype, shape and bytes of each tensor, by name.

    How the tensors are spread over files, their order and the file's metadata do not count.

    Raises
    ------
    DataError
        The folder has no safetensors weights, or a file is damaged.
    """
    tensors = [tensor for path in weight_files(folder) for tensor in _read_tensors(path)]
    digest = blake3.blake3(max_threads=blake3.blake3.AUTO)
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        digest.update(canonical_json([tensor.name, tensor.entry.dtype, tensor.entry.shape]))
        digest.update(tensor.body)
    return digest.hexdigest()


def digest_config(config_json: str) -> str:
    """Return the blake3 digest of a model configuration, without paths, dates and versions."""
    return digest_bytes(canonical_json(_content_of(json.loads(config_json))))


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights: one, or those that the index names."""
    if (folder / WEIGHTS_FILE).exists():
        return [folder / WEIGHTS_FILE]
    index = folder / WEIGHTS_INDEX_FILE
    if not index.exists():
        raise DataError(
            f"teacher {folder}", expected=f"{WEIGHTS_FILE} or {WEIGHTS_INDEX_FILE}", got="neither"
        )
    weights = parse_json(index.read_bytes(), _WeightsIndex, str(index))
    return [folder / name for name in sorted(set(weights.weight_map.values()))]


def _read_tensors(path: Path) -> list[_StoredTensor]:
    """Map the file into memory and return views of its tensors."""
    try:
        with path.open("rb") as file:
            body = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as cause:
        raise DataError(f"weights {path} cannot be read: {cause}") from cause
    start = _HEADER_LENGTH_BYTES + int.from_bytes(body[:_HEADER_LENGTH_BYTES], "little")
    header = parse_json(
        bytes(body[_HEADER_LENGTH_BYTES:start]), dict[str, msgspec.Raw], f"header of {path}"
    )
    header.pop("__metadata__", None)
    tensors = []
    for name, raw in header.items():
        entry = parse_json(bytes(raw), _TensorEntry, f"tensor {name} of {path}")
        first, last = (start + offset for offset in entry.data_offsets)
        if not start <= first <= last <= len(body):
            raise DataError(f"{path} is cut short: tensor {name}", expected=last, got=len(body))
        tensors.append(_StoredTensor(name=name, entry=entry, body=body[first:last]))
    return tensors


def _content_of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _content_of(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _NOT_CONTENT and not key.startswith("_")
    }
