"""Publishing the files that a library has written into a folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.exchange.staged_stream import new_file
from pipelines.store.objects import ObjectStore
from schemas.manifests import FileRecord

_BLOCK_BYTES = 16 << 20


@contextmanager
def scratch_folder(target: ObjectStore) -> Iterator[Path]:
    """Make a hidden folder that vanishes, on the target's disk when it has one."""
    beside = None if "://" in target.url else target.url
    if beside is not None:
        Path(beside).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=beside) as folder:
        yield Path(folder)


def publish_file(target: ObjectStore, path: Path, key: str) -> FileRecord:
    """Store the file under ``key``; any attempt has the same bytes."""
    with path.open("rb") as source, new_file(target, key) as file:
        while block := source.read(_BLOCK_BYTES):
            file.stream.write(block)
    assert file.record is not None
    return file.record
