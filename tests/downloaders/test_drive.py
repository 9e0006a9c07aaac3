from __future__ import annotations

from functools import partial

import pytest

from downloaders.drive import DriveTransport
from downloaders.fetch import ResumingFetcher
from downloaders.transport import Policy
from schemas.errors import DownloadError, UsageError
from tests.downloaders.conftest import Request
from tests.downloaders.fault_server import Fault, FaultServer, Handler, cut, page, status

PLACE = "gdrive://1aB-c_D"
FIRST = "download?id=1aB-c_D&export=download&confirm=t"
CONFIRMED = "download?id=1aB-c_D&export=download&confirm=t&uuid=12-34"
CONFIRM_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><p>Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="/download" method="get">
<input type="submit" id="uc-download-link" value="Download anyway"/>
<input type="hidden" name="id" value="1aB-c_D"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="12-34">
</form></body></html>"""
QUOTA_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p>Sorry, you can't view or download this file at this time.</p><p>Too many users have viewed or
downloaded this file recently. Please try accessing the file again later.</p></body></html>"""


def html(text: str, code: int = 200) -> Fault:
    def fault(handler: Handler, _body: bytes) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return fault


@pytest.fixture
def drive(
    server: FaultServer, fetcher: ResumingFetcher, monkeypatch: pytest.MonkeyPatch
) -> ResumingFetcher:
    def local(_name: str, policy: Policy) -> DriveTransport:
        return DriveTransport(policy, base=server.base)

    monkeypatch.setattr("downloaders.fetch.open_transport", local)
    return fetcher


def test_a_small_file_comes_at_once_and_resumes(
    server: FaultServer, body: bytes, drive: ResumingFetcher, request_for: Request
) -> None:
    server.put(FIRST, body, cut(150_000))

    fetched = drive.fetch(request_for(PLACE))

    assert fetched.verified
    assert fetched.url == PLACE
    assert server.ranges() == [None, "bytes=150000-"]


def test_a_large_file_is_confirmed_and_resumes(
    server: FaultServer, body: bytes, drive: ResumingFetcher, request_for: Request
) -> None:
    server.put(FIRST, b"", *[html(CONFIRM_PAGE)] * 9)
    server.put(CONFIRMED, body, cut(150_000))

    assert drive.fetch(request_for(PLACE)).verified
    assert [seen.path for seen in server.seen] == [f"/{FIRST}", f"/{CONFIRMED}"] * 2
    assert server.ranges()[-1] == "bytes=150000-"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (html(QUOTA_PAGE), "quota for this file is used up.*24 hours.*--from"),
        (html(QUOTA_PAGE.replace("Quota exceeded", "Error"), 403), "quota for this file is used"),
        (page("Sign in to continue to Google Drive"), "asks for a login"),
        (page("Google Drive: something new"), "another web page.*'google drive: something new'"),
        (status(404), "no such file, or it is not shared with everyone"),
    ],
)
def test_a_refusal_is_recognised_and_never_saved(
    fault: Fault,
    text: str,
    server: FaultServer,
    drive: ResumingFetcher,
    request_for: Request,
) -> None:
    server.put(FIRST, b"", fault)
    request = request_for(PLACE, checksum=None, bytes=None, kind="part")

    with pytest.raises(DownloadError, match=text):
        drive.fetch(request)

    assert len(server.seen) == 1
    assert not request.folder.exists()


def test_a_quota_page_does_not_cost_the_bytes_so_far(
    server: FaultServer, body: bytes, drive: ResumingFetcher, request_for: Request
) -> None:
    request = request_for(PLACE)
    server.put(FIRST, body, cut(150_000), html(QUOTA_PAGE))
    with pytest.raises(DownloadError, match="quota"):
        drive.fetch(request)

    assert drive.fetch(request).resumed
    assert server.ranges()[-1] == "bytes=150000-"


def test_a_form_that_leads_to_itself_ends(
    server: FaultServer, drive: ResumingFetcher, request_for: Request
) -> None:
    server.put(FIRST, b"", *[html(CONFIRM_PAGE)] * 9)
    server.put(CONFIRMED, b"", *[html(CONFIRM_PAGE)] * 9)
    with pytest.raises(DownloadError, match="again and again"):
        drive.fetch(request_for(PLACE))


@pytest.mark.parametrize("url", ["gdrive://", "gdrive://a/b", "gdrive://a?b"])
def test_an_id_that_is_none_is_refused(url: str, fetcher: ResumingFetcher) -> None:
    with (
        pytest.raises(UsageError, match="gdrive://FILE_ID"),
        partial(DriveTransport(Policy()).open, url)(0, None),
    ):
        pass
