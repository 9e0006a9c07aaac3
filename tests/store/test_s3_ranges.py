"""Ranges that are asked for without the client, and when the client must be asked all the same."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from moto import settings
from moto.core.responses import ActionAuthenticatorMixin

from pipelines.store import s3_requests
from pipelines.store.s3 import S3ObjectStore
from pipelines.store.s3_ranges import DirectGets, SocketBody
from schemas.errors import StorageError
from tests.chaos.fault_proxy import Fault, Faults, Request, fault_proxy
from tests.chaos.s3_server import CREDENTIALS, UTCNOW, s3_server
from tests.s3_server import serving_s3

pytestmark = pytest.mark.filterwarnings(UTCNOW)
BODY = os.urandom(9 << 20)


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[str, Faults]]:
    with s3_server() as endpoint, fault_proxy(endpoint) as proxy:
        yield proxy


@pytest.fixture
def heard(proxy: tuple[str, Faults]) -> list[Request]:
    """The requests that arrive."""
    requests: list[Request] = []
    _, faults = proxy
    faults.choose = lambda request: requests.append(request)
    faults.count.clear()
    return requests


@pytest.fixture
def store(
    proxy: tuple[str, Faults], heard: list[Request], monkeypatch: pytest.MonkeyPatch
) -> S3ObjectStore:
    """A bucket with an object ``f``, of which nothing was read yet."""
    for name, value in {"AWS_ENDPOINT_URL": proxy[0], **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_requests, "_FIRST_PAUSE_SECONDS", 0.001)
    boto3.client("s3").create_bucket(Bucket="bucket")
    store = S3ObjectStore("s3://bucket/a root")
    store.put_if_absent("f", BODY)
    heard.clear()
    return store


def read(store: S3ObjectStore, offset: int, count: int, key: str = "f") -> bytes:
    out = bytearray(count)
    return bytes(out[: store.read_into(key, offset, memoryview(out))])


def test_a_client_asks_once_and_then_nobody_needs_it(
    store: S3ObjectStore, heard: list[Request]
) -> None:
    for offset, count in ((0, 5), (7, 8 << 20), ((9 << 20) - 3, 3), (1 << 20, 1)):
        assert read(store, offset, count) == BODY[offset : offset + count]
    assert [request.from_client for request in heard] == [True, False, False, False]
    assert store.requests.budget.sent == 1 + len(heard)


def test_a_whole_object_teaches_it_too(store: S3ObjectStore, heard: list[Request]) -> None:
    assert store.get("f") == BODY
    assert read(store, 1, 9) == BODY[1:10]
    assert [request.from_client for request in heard] == [True, False]


def test_a_range_over_the_end_is_cut_and_one_behind_it_is_empty(store: S3ObjectStore) -> None:
    for _ in range(2):
        assert read(store, len(BODY) - 4, 99) == BODY[-4:]
        assert read(store, len(BODY), 9) == b""
        with pytest.raises(FileNotFoundError, match="s3://bucket/a root/absent"):
            read(store, 0, 9, "absent")
    assert read(store, 3, 3) == BODY[3:6]


def test_neither_is_a_reason_to_ask_the_client(store: S3ObjectStore, heard: list[Request]) -> None:
    read(store, 0, 1)
    read(store, len(BODY), 9)
    with pytest.raises(FileNotFoundError):
        read(store, 0, 9, "absent")
    read(store, 0, 1)
    assert [request.from_client for request in heard] == [True, False, False, False]


@pytest.mark.parametrize("key", ["a b/ü+c", "image.trunk~hflip@int8/c/0", "100%", "q?x=1&y#z"])
def test_any_key(store: S3ObjectStore, key: str) -> None:
    store.put_if_absent(key, b"0123456789")
    assert read(store, 0, 4, "f") == BODY[:4]
    assert read(store, 2, 5, key) == b"23456"


def test_a_connection_is_used_again_unless_bytes_are_left_on_it(
    store: S3ObjectStore, proxy: tuple[str, Faults]
) -> None:
    _, faults = proxy
    read(store, 0, 1)
    before = faults.connections
    for offset in range(9):
        read(store, offset, 2 << 20)
    assert faults.connections == before
    blocks = store.read_blocks("f", 0, memoryview(bytearray(9 << 20)))
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert read(store, 5, 7) == BODY[5:12]
    assert faults.connections == before + 1


OUTLASTED: list[Fault] = [
    "slow down",
    "internal error",
    "reset before",
    "cut",
    "late",
    "broken answer",
    "bare busy",
    "reset inside",
]


@pytest.mark.parametrize("fault", OUTLASTED)
def test_faults_are_outlasted(
    store: S3ObjectStore, proxy: tuple[str, Faults], fault: Fault
) -> None:
    _, faults = proxy
    read(store, 0, 1)
    faults.once(fault, lambda request: not request.from_client, times=2)
    assert read(store, 5, 8 << 20) == BODY[5 : 5 + (8 << 20)]
    assert faults.count[fault] == (1 if fault == "late" else 2)
    assert store.requests._connected().direct.ready


def test_who_is_refused_leaves_it_to_the_client(
    store: S3ObjectStore, proxy: tuple[str, Faults]
) -> None:
    _, faults = proxy
    heard: list[Request] = []

    def choose(request: Request) -> Fault | None:
        heard.append(request)
        return None if request.from_client else "denied"

    faults.choose = choose
    for offset in range(3):
        assert read(store, offset, 9) == BODY[offset : offset + 9]
    # The second one was refused, and asked again by the client; the third was not tried.
    assert [request.from_client for request in heard] == [True, False, True, True]


@pytest.mark.parametrize("fault", ["whole", "other range"])
def test_an_answer_of_other_bytes_is_not_read(
    store: S3ObjectStore, proxy: tuple[str, Faults], fault: Fault
) -> None:
    _, faults = proxy
    read(store, 0, 1)
    sent = store.requests.budget.sent
    faults.once(fault, lambda request: not request.from_client)
    assert read(store, 3, 9) == BODY[3:12]
    assert store.requests.budget.sent == sent + 2
    assert store.requests._connected().direct.given_up


def test_nothing_is_learned_from_a_whole_object_in_place_of_a_range(
    store: S3ObjectStore, proxy: tuple[str, Faults]
) -> None:
    _, faults = proxy
    faults.once("whole", lambda request: request.from_client)
    read(store, 0, 9)
    assert not store.requests._connected().direct.ready


def test_a_refusal_of_the_client_too_is_told_and_no_reason_to_give_up(
    store: S3ObjectStore, proxy: tuple[str, Faults]
) -> None:
    _, faults = proxy
    read(store, 0, 1)
    faults.choose = lambda _request: "denied"
    with pytest.raises(StorageError, match=r"cannot read .*a root/f: AccessDenied"):
        read(store, 0, 1)
    faults.choose = lambda _request: None
    assert store.requests._connected().direct.ready
    assert read(store, 0, 9) == BODY[:9]


def test_credentials_are_those_of_the_moment(
    store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(store, 0, 1)
    direct = store.requests._connected().direct
    tokens = iter(["first", "second"])

    class Changing:
        def get_frozen_credentials(self) -> Credentials:
            return Credentials("id", "secret", next(tokens))

    seen: list[str] = []
    send = direct._session.send

    def noted(request: Any) -> Any:
        seen.append(request.headers["X-Amz-Security-Token"])
        return send(request)

    monkeypatch.setattr(direct, "_credentials", Changing())
    monkeypatch.setattr(direct._session, "send", noted)
    assert [read(store, 0, 9) for _ in range(2)] == [BODY[:9]] * 2
    assert seen == ["first", "second"]


def test_a_body_let_go_of_early_gives_no_connection_back(store: S3ObjectStore) -> None:
    read(store, 0, 1)
    for count in (1, len(BODY)):
        body = store.requests.open_range("a root/f", 0, count)
        assert isinstance(body, SocketBody)
        body.readinto(memoryview(bytearray(1)))
        body.close()
        assert body._response.isclosed()
        assert body._raw.connection is None or body._raw.connection.sock is None or count == 1


def test_another_botocore_is_asked_itself() -> None:
    session = boto3.Session(region_name="eu-west-1")
    client = session.client("s3", aws_access_key_id="id", aws_secret_access_key="secret")
    client._endpoint = None
    direct = DirectGets(client, session.get_credentials())
    assert direct.given_up
    assert not direct.ready


def test_a_service_that_checks_signatures_accepts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_s3():
        # Requests are judged from here on but for those that make a user.
        monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 3)
        monkeypatch.setattr(ActionAuthenticatorMixin, "request_count", 0)
        iam = boto3.client("iam")
        iam.create_user(UserName="reader")
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        store = S3ObjectStore("s3://bucket/signed things")
        for name in ("f", "image.trunk~hflip@int8/c/0", "a b/x+y"):
            store.put_if_absent(name, BODY[:99])
            assert [read(store, offset, 9, name) for offset in (0, 7)] == [BODY[:9], BODY[7:16]]
        assert store.requests._connected().direct.ready

        wrong = S3ObjectStore("s3://bucket/signed things")
        assert read(wrong, 0, 9) == BODY[:9]
        direct = wrong.requests._connected().direct
        direct._credentials = Credentials(key["AccessKeyId"], "wrong")
        read(wrong, 0, 9)
        assert direct.given_up


@pytest.mark.parametrize(
    ("bucket", "options", "base"),
    [
        ("plain", {}, "https://plain.s3.eu-west-1.amazonaws.com/"),
        ("with.dots", {}, "https://s3.eu-west-1.amazonaws.com/with.dots/"),
        ("plain", {"use_dualstack_endpoint": True}, "https://plain.s3.dualstack.eu-west-1."),
        ("plain", {"s3": {"addressing_style": "path"}}, "https://s3.eu-west-1.amazonaws.com/plain"),
        ("plain", {"signature_version": UNSIGNED}, ""),
        ("plain", {"signature_version": "s3"}, ""),
    ],
)
def test_requests_go_where_the_client_sends_them(
    bucket: str, options: dict[str, Any], base: str
) -> None:
    """Real addresses, by a client whose requests are not sent."""
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    session = boto3.Session(region_name="eu-west-1", **keys)
    client = session.client("s3", config=Config(**options))
    direct = DirectGets(client, session.get_credentials())
    seen: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        seen.append(request)
        raw = io.BytesIO()
        raw._fp = raw  # type: ignore[attr-defined]
        return AWSResponse(request.url, 206, {"Content-Length": "0"}, raw)

    client.meta.events.register("before-send.s3.GetObject", answer)
    key = "root/a b~c@d"
    direct.learn(key, client.get_object(Bucket=bucket, Key=key, Range="bytes=0-1"))
    assert direct.ready == (not direct.given_up) == bool(base)
    if base:
        assert direct._way is not None
        assert direct._way.region == "eu-west-1"
        assert direct._way.base.startswith(base)
        assert direct._way.base + "root/a%20b~c%40d" == seen[0].url
        assert "Boto3" in direct._way.user_agent


def test_what_a_hook_has_answered_teaches_nothing() -> None:
    """Nothing was sent there; who answers in the network's place goes on answering."""
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    session = boto3.Session(region_name="eu-west-1", **keys)
    client = session.client("s3")
    direct = DirectGets(client, session.get_credentials())
    client.meta.events.register(
        "before-send.s3.GetObject",
        lambda request, **_: AWSResponse(request.url, 206, {"Content-Length": "0"}, io.BytesIO()),
    )
    direct.learn("k", client.get_object(Bucket="plain", Key="k", Range="bytes=0-1"))
    assert direct.given_up
