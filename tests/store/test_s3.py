from __future__ import annotations

import os
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from pipelines.store import s3_create, s3_requests, s3_upload
from pipelines.store.open import open_store
from pipelines.store.s3 import S3ObjectStore
from schemas.errors import StorageError, UsageError
from tests.chaos.fault_proxy import EVERY_FAULT, Fault, Faults, Request, fault_proxy
from tests.chaos.s3_server import CREDENTIALS, UTCNOW, s3_server
from tests.chaos.small_disk import small_disk
from tests.contracts.object_store_contract import ObjectStoreContract

PART = 1 << 18

pytestmark = pytest.mark.filterwarnings(UTCNOW)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    """The address of a proxy in front of a real S3 server."""
    with s3_server() as endpoint, fault_proxy(endpoint) as proxy:
        yield proxy


@pytest.fixture
def faults(server: tuple[str, Faults]) -> Faults:
    _, faults = server
    faults.choose = lambda _request: None
    faults.count.clear()
    return faults


@pytest.fixture
def store(
    server: tuple[str, Faults],
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> S3ObjectStore:
    for name, value in {"AWS_ENDPOINT_URL": server[0], **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_upload, "PART_BYTES", PART)
    monkeypatch.setattr(s3_create, "_CONFLICT_WAITS", (0.0, 0.0))
    monkeypatch.setattr(s3_requests, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(s3_requests, "PATIENCE_SECONDS", 5.0)
    boto3.client("s3").create_bucket(Bucket="bucket")
    return S3ObjectStore(f"s3://bucket/{request.node.name}")


class TestS3ObjectStore(ObjectStoreContract):
    pass


def test_large_files_go_up_in_parts_while_they_are_written(store: S3ObjectStore) -> None:
    body = os.urandom(2 * PART + 99)
    with store.stage("large") as staged:
        for start in range(0, len(body), 1 << 16):
            staged.write(body[start : start + (1 << 16)])
        (upload,) = store.leftovers()
        assert upload.key == "large"
        assert staged.publish()
    assert store.get("large") == body
    with store.stage("large") as staged:
        staged.write(b"x" * (PART + 1))
        assert not staged.publish()
    assert store.get("large") == body
    assert list(store.leftovers()) == []


def test_an_upload_that_a_killed_process_left(store: S3ObjectStore) -> None:
    name = {"Bucket": "bucket", "Key": store._prefix + "f"}
    store.requests.client.create_multipart_upload(**name)
    (left,) = store.leftovers()
    assert (left.key, left.modified > 0) == ("f", True)
    assert store.discard(left)
    assert list(store.leftovers()) == []
    assert store.discard(left)


def puts(request: Request) -> bool:
    return request.method == "PUT" and "partNumber" not in request.path


def completes(request: Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


def test_repeated_attempts_are_counted(store: S3ObjectStore, faults: Faults) -> None:
    store.put_if_absent("f", b"x")
    before = store.requests.budget.sent
    faults.once("slow down", lambda request: request.method == "GET", times=2)
    assert store.get("f") == b"x"
    assert store.requests.budget.sent - before == 3


WRITES = [(puts, 9), (completes, PART + 9)]


@pytest.mark.parametrize(("wanted", "size"), WRITES)
@pytest.mark.parametrize("fault", [fault for fault in EVERY_FAULT if fault != "cut"])
def test_a_write_outlasts_two_faults(
    store: S3ObjectStore,
    faults: Faults,
    fault: Fault,
    wanted: Callable[[Request], bool],
    size: int,
) -> None:
    """After ``reset after`` the object is there, by an attempt that never heard of it."""
    faults.once(fault, wanted, times=2)
    body = os.urandom(size)
    with store.stage("f") as staged:
        staged.write(body)
        assert staged.publish()
    assert faults.count[fault] == (1 if fault == "late" else 2)
    assert store.get("f") == body
    assert list(store.leftovers()) == []


def test_an_upload_aborted_behind_its_back_begins_anew(
    store: S3ObjectStore, faults: Faults
) -> None:
    faults.once("upload gone", completes)
    body = os.urandom(PART + 9)
    with store.stage("f") as staged:
        staged.write(body)
        assert staged.publish()
    assert faults.count["upload gone"] == 1
    assert store.get("f") == body
    assert list(store.leftovers()) == []


def test_a_lost_answer_does_not_make_another_writer_ours(
    store: S3ObjectStore, faults: Faults
) -> None:
    assert store.put_if_absent("f", b"same")
    faults.once("reset after", puts)
    assert not store.put_if_absent("f", b"same")
    assert faults.count["reset after"] == 1


@pytest.mark.parametrize("fault", [fault for fault in EVERY_FAULT if fault != "conflict"])
def test_a_read_outlasts_two_faults(store: S3ObjectStore, faults: Faults, fault: Fault) -> None:
    body = os.urandom(3 << 20)
    store.put_if_absent("f", body)
    faults.once(fault, lambda request: request.method == "GET", times=2)
    assert store.get("f") == body
    faults.once(fault, lambda request: request.method == "GET", times=2)
    first, second = bytearray(2 << 20), bytearray(9)
    assert store.read_into("f", 5, memoryview(first), memoryview(second)) == (2 << 20) + 9
    assert bytes(first + second) == body[5 : 5 + (2 << 20) + 9]
    assert faults.count[fault] == (2 if fault == "late" else 4)


def test_a_service_that_stays_busy_is_an_error(
    store: S3ObjectStore, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "PATIENCE_SECONDS", 1.0)
    faults.choose = lambda _request: "slow down"
    with pytest.raises(StorageError, match=r"/f: SlowDown .*Check the network"):
        store.put_if_absent("f", b"x")
    assert faults.count["slow down"] > 3


def test_a_part_that_cannot_be_sent_ends_the_writing_soon(
    store: S3ObjectStore, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "PATIENCE_SECONDS", 0.01)
    faults.choose = lambda request: "slow down" if "partNumber" in request.path else None
    with pytest.raises(StorageError, match="SlowDown"), store.stage("f") as staged:
        while staged.bytes < 1 << 30:
            staged.write(bytes(PART))
    assert list(store.leftovers()) == []


def test_a_wrong_address_is_told_soon(
    store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "_FIRST_PATIENCE_SECONDS", 0.1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL"):
        S3ObjectStore("s3://bucket").size("f")


def test_after_a_conflict_the_key_may_exist(store: S3ObjectStore, faults: Faults) -> None:
    assert store.put_if_absent("f", b"first")
    faults.once("conflict", puts, times=1)
    assert not store.put_if_absent("f", b"second")
    assert store.get("f") == b"first"


def test_writes_that_never_end_are_an_error(store: S3ObjectStore, faults: Faults) -> None:
    faults.once("conflict", puts, times=3)
    with pytest.raises(StorageError, match="/f: other writes of it do not end"):
        store.put_if_absent("f", b"x")
    assert store.size("f") is None


def test_listings_of_several_pages(store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"p/{number:04d}" for number in range(7)]
    for name in names:
        store.put_if_absent(name, b"")
        store.requests.client.create_multipart_upload(Bucket="bucket", Key=store._prefix + name)
    pages = []
    store.requests.client.meta.events.register(
        "before-parameter-build.s3",
        lambda params, model, **_: params.update(
            {"MaxKeys": 3} if model.name == "ListObjectsV2" else {}
        ),
    )
    store.requests.client.meta.events.register(
        "after-call.s3", lambda model, **_: pages.append(model.name)
    )
    assert list(store.keys("p")) == names
    assert sorted(item.key for item in store.leftovers()) == names
    assert pages == ["ListObjectsV2"] * 3 + ["ListMultipartUploads"]  # moto gives uploads at once


def test_many_names_are_listed_side_by_side(
    store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:05d}.json" for number in (*range(4), 10, 11, 12, 20_000, 91_000)]
    for name in names:
        store.put_if_absent(f"p/{name}", b"")
    asked: list[tuple[str, str]] = []

    def note(params: dict[str, object], **_: object) -> None:
        params["MaxKeys"] = 3
        asked.append((str(params["Prefix"]), str(params.get("StartAfter", ""))))

    store.requests.client.meta.events.register("before-parameter-build.s3.ListObjectsV2", note)
    assert sorted(store.names("p", string.digits)) == names
    top, last = f"{store._prefix}p/", f"{store._prefix}p/00002.json"
    first = [(top, ""), *((top + digit, last) for digit in string.digits)]
    assert set(first) <= set(asked)
    assert len(asked) == 1 + 10 + 1, "of the first digit there are four more: two requests"
    asked.clear()
    assert store.names("p/none", string.digits) == []
    assert len(asked) == 1


def test_scratch_is_chosen_by_the_environment(
    store: S3ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMDISTILL_SCRATCH", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"scratch file in .*/none.*SAMDISTILL_SCRATCH"):
        store.stage("f").__enter__()
    with small_disk(tmp_path / "disk", kibibytes=1024) as disk:
        monkeypatch.setenv("SAMDISTILL_SCRATCH", str(disk))
        with (
            pytest.raises(StorageError, match=r"write f in .*/disk: No space left.*SCRATCH"),
            store.stage("f") as staged,
        ):
            staged.write(bytes(2 << 20))


def test_absent_bucket_is_named(store: S3ObjectStore) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/a"):
        open_store("s3://no-such-bucket").put_if_absent("a", b"")


def test_url_without_bucket_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        open_store("s3://")
