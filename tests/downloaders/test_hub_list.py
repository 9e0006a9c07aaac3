from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from downloaders.base import DownloadContext
from downloaders.text_corpora import SACO_VEVAL
from schemas.errors import DownloadError

ONLINE = DownloadContext(online=True)
TREE = "/api/datasets/facebook/SACo-VEval/tree/main"


def entry(path: str, size: int, sha256: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": "0" * 40}
    if sha256 is not None:
        found["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
    return found


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a hub on this machine lists of facebook/SACo-VEval."""
    listed: list[dict[str, Any]] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.partition("?")[0] == TREE
            body = json.dumps(listed if known else {"error": "no"}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield listed
        server.shutdown()


def whole(folder: str) -> list[dict[str, Any]]:
    domains = ("sav", "yt1b", "smartglasses")
    return [
        entry(f"{folder}saco_veval_{domain}_val.json", 100 + place, f"{place:064x}")
        for place, domain in enumerate(domains)
    ]


def test_offline_the_plan_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    plan = SACO_VEVAL.plan(["val"])
    assert plan.unknown_sizes == 3


def test_files_are_found_in_another_folder_with_size_and_checksum(tree: list[Any]) -> None:
    tree += [*whole("other/place/"), entry("README.md", 5)]
    plan = SACO_VEVAL.plan(["val"], ONLINE)
    assert plan.total_bytes == 100 + 101 + 102
    assert not plan.unknown_sizes
    first = plan.files[0]
    assert first.urls == (
        "hf://datasets/facebook/SACo-VEval@main/other/place/saco_veval_sav_val.json",
    )
    assert first.checksum == f"sha256:{0:064x}"


def test_of_two_the_one_in_the_expected_folder_is_taken(tree: list[Any]) -> None:
    tree += [*whole("annotation/"), *whole("old/")]
    plan = SACO_VEVAL.plan(["val"], ONLINE)
    assert {file.path.partition("/")[0] for file in plan.files} == {"annotation"}


def test_a_file_that_is_gone_is_named(tree: list[Any]) -> None:
    tree += whole("annotation/")[:2]
    with pytest.raises(
        DownloadError, match=r"one file saco_veval_smartglasses_val\.json; got none"
    ):
        SACO_VEVAL.plan(["val"], ONLINE)
