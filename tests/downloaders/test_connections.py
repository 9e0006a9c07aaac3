from __future__ import annotations

from collections.abc import Iterator

import pytest

from downloaders.connections import Connections
from tests.downloaders.conftest import FAST
from tests.downloaders.fault_server import FaultServer, Handler, serve, status


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections(FAST)
    yield made
    made.close()


def read(connections: Connections, url: str) -> bytes:
    return connections.get(url, {}).read()


def test_a_connection_is_kept_and_one_that_the_server_closed_is_replaced(
    server: FaultServer, connections: Connections
) -> None:
    clients: list[tuple[str, int]] = []

    def noted(handler: Handler, body: bytes) -> None:
        clients.append(handler.client_address)
        serve(handler, body)

    def last(handler: Handler, body: bytes) -> None:
        noted(handler, body)
        handler.hang_up()

    url = server.put("a.zip", b"0123456789", noted, last, noted)
    for _ in range(3):
        assert read(connections, url) == b"0123456789"
    assert clients[0] == clients[1] != clients[2]


def test_proxies_of_the_environment_are_used(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.base.replace("//", "//user:word@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.files["http://far.invalid/a.zip"] = b"by proxy"
    connections = Connections(FAST)

    assert read(connections, "http://far.invalid/a.zip") == b"by proxy"
    assert read(connections, server.put("a.zip", b"direct")) == b"direct"
    assert [seen.path for seen in server.seen] == ["http://far.invalid/a.zip", "/a.zip"]


def test_a_password_in_the_url_is_sent_to_its_host_alone(
    server: FaultServer, connections: Connections
) -> None:
    server.put("b.zip", b"blob")
    elsewhere = server.base.replace("127.0.0.1", "localhost")
    url = server.put("a.zip", b"", status(302, {"Location": f"{elsewhere}/b.zip"}))

    assert read(connections, url.replace("//", "//user:word@")) == b"blob"
    assert [seen.authorization for seen in server.seen] == ["Basic dXNlcjp3b3Jk", None]


def test_bytes_are_taken_as_they_are_sent(server: FaultServer, connections: Connections) -> None:
    def encoded(handler: Handler, _body: bytes) -> None:
        assert handler.headers["Accept-Encoding"] == "identity"
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8b\x08\x00")

    assert read(connections, server.put("a.gz", b"", encoded)) == b"\x1f\x8b\x08\x00"
