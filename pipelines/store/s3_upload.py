"""One new object: written to node-local scratch, and sent in parts while it is still written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from pipelines.store.objects import Buffer, StagedFile
from pipelines.store.s3_create import Creation
from pipelines.store.s3_errors import WriteConflictError
from pipelines.store.s3_requests import S3Requests
from schemas.errors import StorageError

PART_BYTES = 16 << 20
"""S3 takes 10,000 parts: objects of 156 GiB at most. Each sending thread holds one part."""
_MOST_PARTS = 10_000
SCRATCH = "SAMDISTILL_SCRATCH"
"""Environment variable: the folder for files that are being uploaded; else the system's own."""


@contextlib.contextmanager
def open_scratch() -> Iterator[IO[bytes]]:
    """Open a file without a name, of which a killed process leaves nothing."""
    folder = os.environ.get(SCRATCH) or None
    with _scratch_errors("open a scratch file"):
        file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115
    with file:
        yield file


class S3StagedFile(StagedFile):
    """See ``StagedFile``. What was sent and not published is aborted by ``abandon``."""

    def __init__(
        self, file: IO[bytes], key: str, target: str, requests: S3Requests, pool: ThreadPoolExecutor
    ) -> None:
        super().__init__(file, key)
        self._target, self._requests, self._pool = target, requests, pool
        self._creation = Creation(requests, target)
        self._upload: str | None = None
        self._parts: list[Future[str]] = []

    def write(self, *buffers: Buffer) -> None:
        """See ``StagedFile.write``; raises too when an earlier part could not be sent."""
        with _scratch_errors(f"write {self.key}"):
            super().write(*buffers)
        # One part stays: a small object goes by one request, and no last part is empty.
        while self.bytes > (len(self._parts) + 1) * PART_BYTES:
            self._send_part()
            self._raise_failure()

    def publish(self) -> bool:
        """See ``StagedFile.publish``."""
        return self._creation.settle(self._create)

    def abandon(self) -> None:
        """Stop sending, and remove what was sent; what cannot be removed is left to gc."""
        for part in self._parts:
            part.cancel()
        for part in self._parts:
            if not part.cancelled():
                part.exception()
        self._parts = []
        if self._upload is not None:
            with contextlib.suppress(Exception):
                self._requests.client.abort_multipart_upload(
                    Bucket=self._requests.bucket, Key=self._target, UploadId=self._upload
                )
            self._upload = None

    def _create(self) -> bool:
        if self.bytes <= PART_BYTES:
            body = self._read(0, self.bytes)
            return self._creation.create("put_object", Body=body, Metadata=self._creation.metadata)
        try:
            return self._complete()
        except WriteConflictError:
            # Amazon asks to begin the upload anew.
            self.abandon()
            raise

    def _complete(self) -> bool:
        while len(self._parts) * PART_BYTES < self.bytes:
            self._send_part()
        tags = [part.result() for part in self._parts]
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
        created = self._creation.create(
            "complete_multipart_upload", UploadId=self._upload, MultipartUpload={"Parts": parts}
        )
        if created:
            self._upload, self._parts = None, []
        return created

    def _send_part(self) -> None:
        if len(self._parts) == _MOST_PARTS:
            raise StorageError(
                f"{self.key} is too large for S3",
                expected=f"{_MOST_PARTS * PART_BYTES} bytes at most",
                fix="Normalize with fewer --rows-per-shard.",
            )
        if self._upload is None:
            answer = self._requests.send(
                "create_multipart_upload",
                "write",
                self._target,
                Metadata=self._creation.metadata,
            )
            self._upload = answer["UploadId"]
        self._parts.append(self._pool.submit(self._send, self._upload, len(self._parts)))

    def _send(self, upload: str, place: int) -> str:
        answer = self._requests.send(
            "upload_part",
            "write",
            self._target,
            UploadId=upload,
            PartNumber=place + 1,
            Body=self._read(place * PART_BYTES, PART_BYTES),
        )
        return str(answer["ETag"])

    def _raise_failure(self) -> None:
        for part in self._parts:
            if part.done() and isinstance(error := part.exception(), StorageError):
                raise error

    def _read(self, offset: int, count: int) -> bytes:
        return os.pread(self.file.fileno(), count, offset)


@contextlib.contextmanager
def _scratch_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = os.environ.get(SCRATCH) or tempfile.gettempdir()
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise StorageError(
            f"cannot {action} in {folder}: {cause.strerror or cause}",
            fix=f"It holds what is being uploaded: choose a larger folder by {SCRATCH}.",
        ) from error
