from __future__ import annotations

import os
from collections.abc import Iterator

import boto3
import pytest

from pipelines.store import s3
from pipelines.store.objects import open_store
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


def test_absent_bucket_is_named(store: S3ObjectStore) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/a"):
        open_store("s3://no-such-bucket").put_if_absent("a", b"")


def test_url_without_bucket_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        open_store("s3://")
