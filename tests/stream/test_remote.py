"""A stream from a bucket: the same batches as from a folder, whatever the service does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch

from pipelines.store import s3_requests
from pipelines.store.cached import open_cached
from pipelines.store.local import LocalObjectStore
from pipelines.store.objects import ObjectStore
from pipelines.store.s3 import S3ObjectStore
from pipelines.stream.feature_stream import FeatureStream
from pipelines.stream.loader import StreamLoader
from schemas.errors import IncompleteError, IntegrityError
from tests.chaos.fault_proxy import Faults, Request, at_random, fault_proxy
from tests.chaos.s3_server import CREDENTIALS, UTCNOW, s3_server
from tests.stream.rich_root import MEMORY

pytestmark = [
    pytest.mark.filterwarnings(UTCNOW),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]
FEATURES = ("image.trunk", "text.tokens", "text.mask")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    with s3_server() as endpoint, fault_proxy(endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bucket(
    server: tuple[str, Faults], rich: LocalObjectStore, store: LocalObjectStore
) -> Iterator[Faults]:
    """A bucket with the two roots of these tests, as ``rich`` and ``tiny``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AWS_ENDPOINT_URL": server[0], **CREDENTIALS}.items():
            patch.setenv(name, value)
        patch.setattr(s3_requests, "_FIRST_PAUSE_SECONDS", 0.001)
        patch.setattr(s3_requests, "PATIENCE_SECONDS", 20.0)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for name, root in (("rich", rich), ("tiny", store)):
            for key in root.keys(""):
                client.put_object(Bucket="bucket", Key=f"{name}/{key}", Body=root.get(key))
        yield server[1]


@pytest.fixture
def faults(bucket: Faults) -> Iterator[Faults]:
    yield bucket
    bucket.choose = lambda _request: None


def remote(name: str) -> S3ObjectStore:
    return S3ObjectStore(f"s3://bucket/{name}")


def rich_stream(store: ObjectStore, *features: str, **options: Any) -> FeatureStream:
    options = {"image_size": 24, "batch_size": 2, "epochs": 1, "threads": 4} | options
    return FeatureStream(store, "all", features=features or FEATURES, annotations=True, **options)


def tiny_stream(store: ObjectStore, **options: Any) -> FeatureStream:
    options = {"image_size": 24, "batch_size": 4, "epochs": 1, "threads": 4} | options
    return FeatureStream(store, "tiny", **options)


def require_equal(left: FeatureStream, right: FeatureStream) -> int:
    count = 0
    for one, other in zip(left, right, strict=True):
        assert one.keys == other.keys
        assert one.objects == other.objects
        for a, b in ((one, other), (one.phrases, other.phrases), (one.memory, other.memory)):
            for name, tensor in (a.features if a else {}).items():
                assert b is not None
                assert torch.equal(tensor, b.features[name])
        assert one.images_BCHW is not None
        assert other.images_BCHW is not None
        assert torch.equal(one.images_BCHW, other.images_BCHW)
        count += len(one.keys)
    return count


@pytest.mark.usefixtures("faults")
def test_a_bucket_streams_as_a_folder_does(rich: LocalObjectStore) -> None:
    assert require_equal(rich_stream(remote("rich")), rich_stream(rich)) == 3
    memory = ("image.trunk", *MEMORY)
    windows = {"frames": 2, "batch_size": 3}
    assert require_equal(
        rich_stream(remote("rich"), *memory, **windows), rich_stream(rich, *memory, **windows)
    )


def test_half_of_the_requests_fail_and_every_batch_is_right(
    faults: Faults, rich: LocalObjectStore, store: LocalObjectStore
) -> None:
    faults.choose = at_random(5, 0.5)
    assert require_equal(rich_stream(remote("rich")), rich_stream(rich)) == 3
    assert require_equal(tiny_stream(remote("tiny")), tiny_stream(store)) == 11
    assert sum(faults.count.values()) > 20


def test_rows_side_by_side_come_by_one_request(faults: Faults, store: LocalObjectStore) -> None:
    asked: list[str] = []

    def count(request: Request) -> None:
        asked.append(request.path)

    streams = {
        locality: tiny_stream(remote("tiny"), locality=locality, window=1, prefetch=1)
        for locality in ("none", "shard")
    }
    faults.choose = count
    requests = {}
    for locality, stream in streams.items():
        asked.clear()
        keys = [key for batch in stream for key in batch.keys]
        assert len(set(keys)) == 11
        requests[locality] = len(asked)
    # 11 samples of 4 and 3 per shard: an image and a feature run for each shard and batch.
    assert requests["shard"] <= 10
    assert requests["shard"] < requests["none"] < 22


def test_a_cache_folder_spares_the_second_epoch(
    faults: Faults, store: LocalObjectStore, tmp_path: Path
) -> None:
    asked: list[str] = []
    cached = open_cached(remote("tiny"), tmp_path / "cache", 10**8)
    assert require_equal(tiny_stream(cached), tiny_stream(store)) == 11
    stream = tiny_stream(cached)
    faults.choose = lambda request: asked.append(request.path)
    assert require_equal(stream, tiny_stream(store)) == 11
    assert asked == []


@pytest.mark.usefixtures("faults")
def test_forked_workers_have_connections_of_their_own(store: LocalObjectStore) -> None:
    stream = tiny_stream(remote("tiny"))
    expected = [batch.keys for batch in tiny_stream(store)]
    loader = StreamLoader(stream, num_workers=2, multiprocessing_context="fork")
    assert [batch.keys for batch in loader] == expected
    assert [batch.keys for batch in tiny_stream(remote("tiny"))] == expected


def _copy(name: str) -> Any:
    client = boto3.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix="tiny/"):
        for entry in page["Contents"]:
            key = entry["Key"].replace("tiny/", f"{name}/", 1)
            source = {"Bucket": "bucket", "Key": entry["Key"]}
            client.copy_object(Bucket="bucket", Key=key, CopySource=source)
    (shard,) = [key for key in remote(name).keys("features") if key.endswith("c/1/0/0/0")]
    return client, f"{name}/{shard}"


@pytest.mark.usefixtures("faults")
def test_a_missing_file_is_reported_with_key_and_path() -> None:
    client, key = _copy("missing")
    client.delete_object(Bucket="bucket", Key=key)
    with pytest.raises(IncompleteError, match=r"sample train-[4-7]: .*missing.*c/1/0/0/0"):
        list(tiny_stream(remote("missing")))


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("damage", ["shorter", "flip"])
def test_damage_in_a_bucket_is_found(damage: str) -> None:
    client, key = _copy(damage)
    body = bytearray(client.get_object(Bucket="bucket", Key=key)["Body"].read())
    body[3] ^= 4
    changed = bytes(body) if damage == "flip" else bytes(body)[: len(body) // 3]
    client.put_object(Bucket="bucket", Key=key, Body=changed)
    with pytest.raises(IntegrityError, match=r"sample train-[4-7]: row \d of .*c/1/0/0/0 is dam"):
        list(tiny_stream(remote(damage)))
