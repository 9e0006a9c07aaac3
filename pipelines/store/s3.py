"""An S3 bucket, or a service that speaks the same protocol, as an object store.

Exclusive creation is ``If-None-Match: *`` on the request that makes the object visible.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipelines.store.objects import Buffer, StagedFile
from schemas.errors import StorageError, UsageError

_PART_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_CONFLICT_WAITS = (0.1, 0.3, 1.0, 3.0)
"""Seconds between attempts."""


class S3ObjectStore:
    """Objects below ``s3://bucket/prefix``; endpoint and credentials as boto3 finds them."""

    def __init__(self, url: str) -> None:
        path = url.removeprefix("s3://").strip("/")
        self._url = f"s3://{path}"
        self.bucket, _, prefix = path.partition("/")
        if not self.bucket:
            raise UsageError(f"root {url!r} names no bucket", expected="s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""

    def __reduce__(self) -> tuple[type[S3ObjectStore], tuple[str]]:
        return S3ObjectStore, (self._url,)

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401  boto3 makes its classes at run time
        return boto3.client(
            "s3",
            config=Config(retries={"mode": "adaptive", "max_attempts": 8}, max_pool_connections=32),
        )

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return self._url

    @contextlib.contextmanager
    def stage(self, key: str) -> Iterator[StagedFile]:
        """Write to a local temporary file, uploaded by ``publish``; see ``ObjectStore.stage``."""
        with tempfile.TemporaryFile(buffering=0) as file:
            yield _S3StagedFile(file, key, self)

    def put_if_absent(self, key: str, body: Buffer) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        body = bytes(body)
        return self._settle(key, lambda: self._create(key, "put_object", Body=body))

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        with self._errors("read", key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._prefix + key)
            return bytes(answer["Body"].read())

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        """Read by one ranged GET; see ``ObjectStore.read_into``."""
        return sum(len(block) for block in self.read_blocks(key, offset, *buffers))

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        """Read by one ranged GET, as its bytes arrive; see ``ObjectStore.read_blocks``."""
        count = sum(len(buffer) for buffer in buffers)
        if not count:
            return
        span = f"bytes={offset}-{offset + count - 1}"
        try:
            with self._errors("read", key):
                answer = self._client.get_object(
                    Bucket=self.bucket, Key=self._prefix + key, Range=span
                )
                for buffer in buffers:
                    yield from _fill(answer["Body"], buffer)
        except _RangeError:
            return

    def size(self, key: str) -> int | None:
        """See ``ObjectStore.size``."""
        try:
            with self._errors("read", key):
                answer = self._client.head_object(Bucket=self.bucket, Key=self._prefix + key)
                return int(answer["ContentLength"])
        except FileNotFoundError:
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.keys``."""
        return (key for key, _ in self.sizes(prefix))

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See ``ObjectStore.sizes``: one request per 1,000 keys."""
        for page in self._pages(prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(self._prefix), int(entry["Size"])

    def folders(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.folders``: the delimiter makes the service skip what is below."""
        for page in self._pages(prefix, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"].rstrip("/").rpartition("/")[2]

    def _pages(self, prefix: str, **arguments: str) -> Iterator[dict[str, Any]]:
        folder = f"{self._prefix}{prefix.rstrip('/')}/".lstrip("/")
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=folder, **arguments
        )
        with self._errors("list", prefix):
            yield from pages

    def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``."""
        with self._errors("delete", key):
            self._client.delete_object(Bucket=self.bucket, Key=self._prefix + key)

    def upload(self, key: str, file: IO[bytes], size: int) -> bool:
        """Create the object from an open file, in parts when it is large; False when it exists."""
        return self._settle(key, lambda: self._upload(key, file, size))

    def _upload(self, key: str, file: IO[bytes], size: int) -> bool:
        file.seek(0)
        if size <= _PART_BYTES:
            return self._create(key, "put_object", Body=file)
        with self._errors("write", key):
            name = {"Bucket": self.bucket, "Key": self._prefix + key}
            upload = self._client.create_multipart_upload(**name)["UploadId"]
            try:
                parts = self._upload_parts(name, upload, file)
                created = self._create(
                    key,
                    "complete_multipart_upload",
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                )
            except BaseException:
                self._client.abort_multipart_upload(**name, UploadId=upload)
                raise
            if not created:
                self._client.abort_multipart_upload(**name, UploadId=upload)
            return created

    def _upload_parts(
        self, name: dict[str, str], upload: str, file: IO[bytes]
    ) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        while body := file.read(_PART_BYTES):
            number = len(parts) + 1
            answer = self._client.upload_part(**name, UploadId=upload, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        return parts

    def _settle(self, key: str, create: Callable[[], bool]) -> bool:
        """Create again, whole, while another conditional write of the same key goes on."""
        for wait in _CONFLICT_WAITS:
            try:
                return create()
            except _WriteConflictError:
                time.sleep(wait)
        try:
            return create()
        except _WriteConflictError as cause:
            raise StorageError(
                f"cannot write {self._url}/{key}: other writes of it do not end",
                fix="Run the same command again.",
            ) from cause

    def _create(self, key: str, operation: str, **arguments: object) -> bool:
        try:
            with self._errors("write", key):
                getattr(self._client, operation)(
                    Bucket=self.bucket, Key=self._prefix + key, IfNoneMatch="*", **arguments
                )
        except FileExistsError:
            return False
        return True

    @contextlib.contextmanager
    def _errors(self, action: str, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as cause:
            code = str(cause.response.get("Error", {}).get("Code", ""))
            if code in {"NoSuchKey", "404", "NotFound"}:
                raise FileNotFoundError(f"{self._url}/{key}") from cause
            if code in {"ConditionalRequestConflict", "409"}:
                raise _WriteConflictError from cause
            if code in {"PreconditionFailed", "412"}:
                raise FileExistsError(f"{self._url}/{key}") from cause
            if code in {"InvalidRange", "416"}:
                raise _RangeError from cause
            raise StorageError(
                f"cannot {action} {self._url}/{key}: {code} {cause}",
                fix="Check the bucket's name, its policy and your credentials.",
            ) from cause
        except BotoCoreError as cause:
            raise StorageError(
                f"cannot {action} {self._url}/{key}: {cause}",
                fix="Check the network, AWS_ENDPOINT_URL and your credentials.",
            ) from cause


class _WriteConflictError(Exception):
    """Another conditional write of the key is under way; it may yet fail."""


class _RangeError(Exception):
    """The offset lies past the end of the object."""


def _fill(body: IO[bytes], buffer: memoryview) -> Iterator[memoryview]:
    done = 0
    while done < len(buffer) and (piece := body.read(min(len(buffer) - done, _BLOCK_BYTES))):
        block = buffer[done : done + len(piece)]
        block[:] = piece
        yield block
        done += len(piece)


class _S3StagedFile(StagedFile):
    def __init__(self, file: IO[bytes], key: str, store: S3ObjectStore) -> None:
        super().__init__(file, key)
        self._store = store

    def publish(self) -> bool:
        return self._store.upload(self.key, self.file, self.bytes)
