"""The tar of a shard's images: WebDataset reads it, its bytes depend on its members alone."""

from __future__ import annotations

import tarfile

import blake3

from pipelines.store.objects import StagedFile
from schemas.errors import DataError
from schemas.manifests import FileRecord

_BLOCK = tarfile.BLOCKSIZE


class MediaTar:
    """Appends members to a staged file, and knows where the bytes of each begin."""

    def __init__(self, staged: StagedFile) -> None:
        self._staged, self._hash = staged, blake3.blake3()

    def add(self, name: str, body: bytes) -> int:
        """Append a file; return the offset of its bytes.

        Raises
        ------
        DataError
            The name is longer than the 100 bytes that the ustar format has for it.
        """
        header = _header(name, len(body))
        offset = self._staged.bytes + len(header)
        self._write(header, body, bytes(-len(body) % _BLOCK))
        return offset

    def finish(self) -> FileRecord:
        """Write the end mark; return what the file must contain."""
        self._write(bytes(2 * _BLOCK))
        return FileRecord(
            key=self._staged.key, bytes=self._staged.bytes, blake3=self._hash.hexdigest()
        )

    def _write(self, *buffers: bytes) -> None:
        for buffer in buffers:
            self._hash.update(buffer)
        self._staged.write(*buffers)


def _header(name: str, size: int) -> bytes:
    # TarInfo's defaults are what determinism needs: no time, no owner, mode 0o644.
    info = tarfile.TarInfo(name)
    info.size = size
    try:
        return info.tobuf(format=tarfile.USTAR_FORMAT)
    except ValueError as cause:
        raise DataError(f"{name!r} cannot be the name of a tar member: {cause}") from cause
