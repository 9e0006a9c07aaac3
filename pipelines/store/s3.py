"""An S3 bucket, or a service that speaks the same protocol, as an object store.

Exclusive creation is ``If-None-Match: *`` on the request that makes the object visible.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from botocore.exceptions import BotoCoreError

from pipelines.store.objects import Buffer, Leftover, StagedFile, after
from pipelines.store.request_budget import UNLIMITED, RequestLimits
from pipelines.store.s3_create import Creation
from pipelines.store.s3_errors import WriteConflictError, is_passing
from pipelines.store.s3_requests import S3Requests
from pipelines.store.s3_upload import S3StagedFile, open_scratch
from schemas.errors import StorageError, UsageError

_BLOCK_BYTES = 1 << 22
_SENDERS = 8
"""Threads of a process that send parts: as many as one GPU's 640 MB/s need at 80 MB/s each."""


class S3ObjectStore:
    """Objects below ``s3://bucket/prefix``; endpoint and credentials as boto3 finds them.

    Parameters
    ----------
    limits
        Of the requests that each process sends.
    """

    def __init__(self, url: str, limits: RequestLimits = UNLIMITED) -> None:
        path = url.removeprefix("s3://").strip("/")
        self._url = f"s3://{path}"
        self.bucket, _, prefix = path.partition("/")
        if not self.bucket:
            raise UsageError(f"root {url!r} names no bucket", expected="s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""
        self.requests = S3Requests(self.bucket, limits)

    def __reduce__(self) -> tuple[type[S3ObjectStore], tuple[str, RequestLimits]]:
        return S3ObjectStore, (self._url, self.requests.budget.limits)

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return self._url

    @contextlib.contextmanager
    def stage(self, key: str) -> Iterator[StagedFile]:
        """Write to node-local scratch, sent in parts meanwhile; see ``ObjectStore.stage``."""
        with open_scratch() as file:
            staged = S3StagedFile(file, key, self._prefix + key, self.requests, self._senders)
            try:
                yield staged
            finally:
                staged.abandon()

    def put_if_absent(self, key: str, body: Buffer) -> bool:
        """See ``ObjectStore.put_if_absent``."""
        creation = Creation(self.requests, self._prefix + key)
        arguments = {"Body": bytes(body), "Metadata": creation.metadata}
        return creation.settle(lambda: creation.create("put_object", **arguments))

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        return self.requests.read(self._prefix + key)

    def read_into(self, key: str, offset: int, *buffers: memoryview) -> int:
        """Read by one ranged GET; see ``ObjectStore.read_into``."""
        return sum(len(block) for block in self.read_blocks(key, offset, *buffers))

    def read_blocks(self, key: str, offset: int, *buffers: memoryview) -> Iterator[memoryview]:
        """Read by one ranged GET, as its bytes arrive; see ``ObjectStore.read_blocks``.

        A body that breaks off is continued by another request.
        """
        left = [buffer for buffer in buffers if len(buffer)]
        pauses = self.requests.pauses()
        while left:
            body = self.requests.open_range(self._prefix + key, offset, sum(map(len, left)))
            if body is None:
                return
            try:
                while left and (count := body.readinto(left[0][:_BLOCK_BYTES])):
                    yield left[0][:count]
                    offset, left = offset + count, after(left, count)
            except BotoCoreError as error:
                pause = next(pauses, None) if is_passing(error) else None
                if pause is None:
                    raise StorageError(
                        f"cannot read {self._url}/{key}: {error}", fix="Check the network."
                    ) from error
                time.sleep(pause)
            else:
                return
            finally:
                # A caller that stops early leaves a connection with bytes on it: not for reuse.
                body.close()

    def size(self, key: str) -> int | None:
        """See ``ObjectStore.size``."""
        try:
            answer = self.requests.send("head_object", "read", self._prefix + key)
        except FileNotFoundError:
            return None
        return int(answer["ContentLength"])

    def modified(self, key: str) -> float | None:
        """See ``ObjectStore.modified``."""
        try:
            answer = self.requests.send("head_object", "read", self._prefix + key)
        except FileNotFoundError:
            return None
        return float(answer["LastModified"].timestamp())

    def keys(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.keys``."""
        return (key for key, _ in self.sizes(prefix))

    def names(self, folder: str, starts: str) -> list[str]:
        """See ``ObjectStore.names``: what does not fit into the first answer is listed in parts.

        One request gives 1,000 names and takes a tenth of a second: 86 in turn would take nine.
        """
        prefix = self._folder(folder)
        first = next(self.requests.pages("list_objects_v2", prefix))
        found = [str(entry["Key"]) for entry in first.get("Contents", ())]
        if first.get("IsTruncated"):

            def rest(start: str) -> list[str]:
                pages = self.requests.pages("list_objects_v2", prefix + start, StartAfter=last)
                return [str(entry["Key"]) for page in pages for entry in page.get("Contents", ())]

            last = found[-1]
            with ThreadPoolExecutor(len(starts), thread_name_prefix="listing") as pool:
                for keys in pool.map(rest, starts):
                    found += keys
        names = (key.removeprefix(prefix) for key in found)
        return [name for name in names if "/" not in name and name[:1] in starts and name]

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See ``ObjectStore.sizes``: one request per 1,000 keys.

        Hidden files, as a copied folder may bring, are left out.
        """
        for page in self.requests.pages("list_objects_v2", self._folder(prefix)):
            for entry in page.get("Contents", ()):
                key = str(entry["Key"]).removeprefix(self._prefix)
                if "/." not in f"/{key}":
                    yield key, int(entry["Size"])

    def folders(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore.folders``: the delimiter makes the service skip what is below."""
        folder = self._folder(prefix)
        for page in self.requests.pages("list_objects_v2", folder, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                name = str(entry["Prefix"]).rstrip("/").rpartition("/")[2]
                if not name.startswith("."):
                    yield name

    def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``."""
        self.requests.send("delete_object", "delete", self._prefix + key)

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the multipart uploads that nobody has completed; see ``ObjectStore.leftovers``."""
        for page in self.requests.pages("list_multipart_uploads", self._prefix):
            for upload in page.get("Uploads", ()):
                yield Leftover(
                    key=str(upload["Key"]).removeprefix(self._prefix),
                    name=str(upload["UploadId"]),
                    modified=float(upload["Initiated"].timestamp()),
                )

    def discard(self, leftover: Leftover) -> bool:
        """Abort an upload. Whether its writer lives cannot be known: one that does begins anew."""
        with contextlib.suppress(FileNotFoundError, WriteConflictError):
            self.requests.send(
                "abort_multipart_upload",
                "abort",
                self._prefix + leftover.key,
                UploadId=leftover.name,
            )
        return True

    @cached_property
    def _senders(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_SENDERS, thread_name_prefix="upload")

    def _folder(self, prefix: str) -> str:
        return f"{self._prefix}{prefix.rstrip('/')}/" if prefix else self._prefix
