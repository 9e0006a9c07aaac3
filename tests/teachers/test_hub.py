"""Against a real HTTP server that answers as the hub does when it refuses."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from pipelines.teachers.hub import local_folder
from schemas.errors import DownloadError, UsageError

REFUSALS = {
    "gated/model": (403, "GatedRepo", "gated"),
    "locked/model": (401, "GatedRepo", "gated"),
    "absent/model": (404, "RepoNotFound", "no such model"),
    "hidden/model": (401, "RepoNotFound", "hides it"),
    "old/model": (404, "RevisionNotFound", "no such revision"),
}


class _RefusingHub(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, code, _ = next(
            answer for name, answer in REFUSALS.items() if f"/{name}/" in f"{self.path}/"
        )
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.fixture
def refusing_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _RefusingHub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(
        huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}"
    )
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("refusing_hub")
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_and_what_to_do(name: str) -> None:
    with pytest.raises(DownloadError) as caught:
        local_folder(name)
    message = str(caught.value)
    assert name in message
    assert REFUSALS[name][2] in message
    for way_out in ("licence", "HF_TOKEN", "--teacher PATH", "--teacher tiny"):
        assert way_out in message


def test_offline_without_a_copy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="not in the local cache"):
        local_folder("facebook/sam3")


def test_a_copy_in_the_cache_is_found_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "0" * 40
    snapshot = tmp_path / "models--some--model" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert local_folder("some/model") == snapshot


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert local_folder(str(tmp_path)) == tmp_path
    with pytest.raises(UsageError, match="no revision 'main'"):
        local_folder(str(tmp_path), "main")


def test_an_impossible_name_is_refused() -> None:
    with pytest.raises(UsageError, match="OWNER/NAME"):
        local_folder("a/b/c")
