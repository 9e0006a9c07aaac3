"""A root without what only the versions of libraries decide.

Parquet files differ between versions of pyarrow, in their encodings and in the name of the writer,
and with them their sizes and digests in each record that names them. So tables are taken as columns
and rows, and a digest of a file is replaced by the file's name. All other bytes stay as they are.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.ids import digest_bytes

Files = dict[str, bytes]
_COMMITS = re.compile(r"(.*)/commits/\d+\.json")
_VARYING = (".parquet", ".arrow", ".json")


def read_files(root: Path) -> Files:
    """Return all files of a root by key, in order, without what describes work in progress."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def canonical(files: Files) -> dict[str, Any]:
    """Return what each file says, by a key that does not depend on digests of tables."""
    names = {digest_bytes(body): _stable_name(key, body) for key, body in files.items()}
    for folder, body in _commit_bodies(files).items():
        names[digest_bytes(body)] = f"commits of {folder}"
    return {_rename(key, names): _rename(_content(key, body), names) for key, body in files.items()}


def _content(key: str, body: bytes) -> Any:
    if key.endswith(".json"):
        # Read and written again, it must be the same: keys sorted, indent of two, a newline.
        return {"parsed": json.loads(body), "canonical": _dumped(json.loads(body)) == body}
    if key.endswith((".parquet", ".arrow")):
        return _table(key, body)
    # Cut, so that it is not taken for the name of the file.
    return digest_bytes(body)[:48]


def _dumped(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False).encode() + b"\n"


def _table(key: str, body: bytes) -> Any:
    source = pa.BufferReader(body)
    if key.endswith(".parquet"):
        table = pq.read_table(source)
    else:
        with pa.ipc.open_file(source) as file:
            assert file.num_record_batches == 1
            table = file.read_all()
    columns = [f"{field.name}: {field.type}, {field.nullable}" for field in table.schema]
    return {"columns": columns, "rows": table.to_pylist()}


def _stable_name(key: str, body: bytes) -> str:
    """Return the key, or for a file named by its digest the digest of what its table says."""
    if "/parts/" not in key:
        return f"<{key}>"
    rows = [{**row, "bytes": 0, "blake3": ""} for row in _table(key, body)["rows"]]
    return f"<part {digest_bytes(repr(rows).encode())[:16]}>"


def _commit_bodies(files: Files) -> Files:
    """Return the commit records of each folder in one: split.json has their digest."""
    found: Files = {}
    for key, body in files.items():
        if match := _COMMITS.fullmatch(key):
            found[match[1]] = found.get(match[1], b"") + body
    return found


def _rename(value: Any, names: dict[str, str]) -> Any:
    """Return a value with digests as names, and without the sizes of files that vary."""
    if isinstance(value, str):
        for digest in re.findall(r"[0-9a-f]{64}", value):
            value = value.replace(digest, names.get(digest, digest))
        return value
    if isinstance(value, list):
        return [_rename(item, names) for item in value]
    if isinstance(value, dict):
        varies = str(value.get("key", "")).endswith(_VARYING)
        return {
            name: None
            if name == "data_bytes" or (varies and name == "bytes")
            else _rename(item, names)
            for name, item in value.items()
        }
    return value
