from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from downloaders.fetch import ResumingFetcher
from downloaders.s3_source import S3Transport
from downloaders.transport import TransientError
from schemas.errors import DownloadError, UsageError
from tests.downloaders.conftest import FAST, Request

# boto3 and moto call datetime.utcnow, which Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

URL = "s3://bucket/zips/a.zip"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _bucket(endpoint: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1", **KEYS}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="zips/a.zip", Body=body, ACL="public-read")


@pytest.fixture
def transport() -> Iterator[S3Transport]:
    made = S3Transport(FAST)
    yield made
    made.close()


def test_fetches_an_object(body: bytes, fetcher: ResumingFetcher, request_for: Request) -> None:
    fetched = fetcher.fetch(request_for(URL))
    assert fetched.verified
    assert (fetched.url, fetched.bytes) == (URL, len(body))


def test_goes_on_with_a_part(
    body: bytes, fetcher: ResumingFetcher, request_for: Request, transport: S3Transport
) -> None:
    request = request_for(URL)
    request.folder.mkdir()
    (request.folder / "a.zip.part").write_bytes(body[:150_000])
    assert fetcher.fetch(request).resumed
    with transport.open(URL, 150_000, None, 160_000) as answer:
        assert answer is not None
        assert (answer.start, answer.total, answer.ranges) == (150_000, len(body), True)
        assert b"".join(answer.chunks) == body[150_000:160_000]


def test_another_version_and_the_end_give_nothing(body: bytes, transport: S3Transport) -> None:
    for start, validator in ((10, '"other"'), (len(body), None)):
        with transport.open(URL, start, validator) as answer:
            assert answer is None


def test_needs_no_credentials_for_an_open_bucket(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    unsigned = S3Transport(FAST)
    with unsigned.open(URL, 0, None) as answer:
        assert answer is not None
        assert b"".join(answer.chunks) == body
    unsigned.close()


@pytest.mark.parametrize(
    ("url", "text"), [("s3://bucket/none", "no such object"), ("s3://none/a", "no such bucket")]
)
def test_what_is_not_there_is_named(url: str, text: str, transport: S3Transport) -> None:
    with pytest.raises(DownloadError, match=text) as raised, transport.open(url, 0, None):
        pass
    assert not isinstance(raised.value, TransientError)


def test_a_server_that_is_down_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(TransientError), S3Transport(FAST).open(URL, 0, None):
        pass


def test_a_bucket_alone_is_no_object(transport: S3Transport) -> None:
    with pytest.raises(UsageError, match="s3://bucket/key"), transport.open("s3://bucket", 0, None):
        pass
