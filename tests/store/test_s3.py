from __future__ import annotations

import os
from collections.abc import Iterator

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from pipelines.store import s3
from pipelines.store.open import open_store
from pipelines.store.s3 import S3ObjectStore
from schemas.errors import StorageError, UsageError
from tests.contracts.object_store_contract import ObjectStoreContract

# boto3 and moto call datetime.utcnow, which Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A real S3 server on the loopback, spoken to over HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> S3ObjectStore:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="bucket")
    return S3ObjectStore(f"s3://bucket/{request.node.name}")


class TestS3ObjectStore(ObjectStoreContract):
    pass


def test_large_files_go_up_in_parts(store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    body = os.urandom(11 << 20)
    with store.stage("large") as staged:
        staged.write(body)
        assert staged.publish()
    assert store.get("large") == body
    with store.stage("large") as staged:
        staged.write(b"x" * (6 << 20))
        assert not staged.publish()
    assert store.get("large") == body


class Conflicts:
    """Answers the first writes as S3 does while another conditional write is under way."""

    BODY = b"<Error><Code>ConditionalRequestConflict</Code></Error>"

    def __init__(self, store: S3ObjectStore, operation: str, left: int) -> None:
        self.left = left
        store._client.meta.events.register(f"before-send.s3.{operation}", self)

    def __call__(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if not self.left:
            return None
        self.left -= 1
        if hasattr(request.body, "read"):
            request.body.read()
        return AWSResponse(request.url, 409, {}, self)

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.BODY


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_CONFLICT_WAITS", (0.0, 0.0))


@pytest.mark.usefixtures("_short_waits")
@pytest.mark.parametrize(
    ("operation", "size"), [("PutObject", 9), ("CompleteMultipartUpload", 6 << 20)]
)
def test_a_write_waits_for_another_write_of_the_key(
    store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch, operation: str, size: int
) -> None:
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    conflicts = Conflicts(store, operation, 2)
    body = os.urandom(size)
    with store.stage("f") as staged:
        staged.write(body)
        assert staged.publish()
    assert conflicts.left == 0
    assert store.get("f") == body


@pytest.mark.usefixtures("_short_waits")
def test_after_the_wait_the_key_may_exist(store: S3ObjectStore) -> None:
    assert store.put_if_absent("f", b"first")
    Conflicts(store, "PutObject", 1)
    assert not store.put_if_absent("f", b"second")
    assert store.get("f") == b"first"


@pytest.mark.usefixtures("_short_waits")
def test_writes_that_never_end_are_an_error(store: S3ObjectStore) -> None:
    Conflicts(store, "PutObject", 3)
    with pytest.raises(StorageError, match="/f: other writes of it do not end"):
        store.put_if_absent("f", b"x")
    assert store.size("f") is None


def test_absent_bucket_is_named(store: S3ObjectStore) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/a"):
        open_store("s3://no-such-bucket").put_if_absent("a", b"")


def test_url_without_bucket_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        open_store("s3://")
