from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from downloaders.base import DownloadContext, RemoteFile
from downloaders.coco import COCO
from downloaders.expiry import link_expiry
from downloaders.fetch import ResumingFetcher
from downloaders.ledger import LEDGER_NAME
from downloaders.links import LinkListDownloader, dead_links, is_dead, read_links, will_be_late
from pipelines.jobs.download import DownloadJob, DownloadReport
from schemas.errors import DataError, UsageError
from tests.downloaders.conftest import make_zip
from tests.downloaders.fault_server import FaultServer, cut, page, status
from tests.fixtures import FIXTURES

NOW = datetime.now(UTC)
BODIES = {f"{n}.zip": make_zip({f"{n}.jpg": bytes([n]) * 300_000}) for n in range(3)}


def signed(url: str, hours: float) -> str:
    return f"{url}?oh=secret{hours}&oe={int((NOW + timedelta(hours=hours)).timestamp()):X}"


def remote(name: str) -> RemoteFile:
    return RemoteFile(name=name, path=name, urls=(), kind="zip", splits=("val2017",))


SOURCE = LinkListDownloader(
    entry=replace(COCO.entry, needs_links=True, to_do="Ask, then add --links FILE."),
    files=tuple(map(remote, BODIES)),
)


def serve_list(server: FaultServer, path: Path, hours: dict[str, float]) -> Path:
    rows = []
    for name, left in hours.items():
        url = signed(f"{server.base}/{name}", left)
        server.put(url.removeprefix(f"{server.base}/"), BODIES[name])
        rows.append(f"{name}\t{url}")
    path.write_text("\n".join(["file_name\tcdn_link", *rows]))
    return path


def bring(root: Path, links: Path | None, fetcher: ResumingFetcher) -> DownloadReport:
    job = DownloadJob(SOURCE, root, fetcher, links=links, jobs=1)
    return job.run(job.plan(["val2017"]), lambda _file, _done: None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("oe=693A5165&x=1", "2025-12-11T05:06:45+00:00"),
        ("X-Amz-Date=20240102T030405Z&X-Amz-Expires=3600", "2024-01-02T04:04:05+00:00"),
        ("Expires=1704164645", "2024-01-02T03:04:05+00:00"),
        ("oe=never", None),
        ("oe=FFFFFFFFFFFFFFFF", None),
        ("Expires=Tue", None),
        ("X-Amz-Expires=3600", None),
        ("", None),
    ],
)
def test_reads_when_a_link_ends(query: str, expected: str | None) -> None:
    ends = link_expiry(f"https://a.test/b.tar?{query}")
    assert (ends and ends.isoformat()) == expected


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [("sa-1b/links_expired_sa-1b-1p.txt", 10, "sa_000029.tar"),
     ("sa-v/links_expired_sa-v.txt", 64, "videos_fps_6.tar")],
)  # fmt: skip
def test_reads_lists_as_published(name: str, count: int, last: str) -> None:
    if not FIXTURES.exists():
        pytest.skip("needs the shared fixtures")
    links = read_links(FIXTURES / name)
    assert len(links) == count
    assert last in links
    assert all((link_expiry(url) or NOW) < NOW for url in links.values())


def test_of_two_links_the_longer_one_counts(tmp_path: Path) -> None:
    early, late = signed("https://a.test/1", 1), signed("https://a.test/2", 2)
    path = tmp_path / "list.txt"
    for rows in ([early, late], [late, early]):
        path.write_text("file_name\tcdn_link\r\n" + "".join(f"a.zip\t{url}\r\n" for url in rows))
        assert read_links(path) == {"a.zip": late}


@pytest.mark.parametrize("row", ["a.zip", "a.zip\tnothing", "a.zip https://a.test/?oh=secret"])
def test_a_row_that_is_none_is_named_without_its_secret(row: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"file_name\tcdn_link\n{row}\n")
    with pytest.raises(DataError, match=r"line 2 of .*list\.txt") as raised:
        read_links(path)
    assert "secret" not in str(raised.value)


def test_plan_is_ordered_by_expiry_and_ignores_other_rows(tmp_path: Path) -> None:
    rows = [("1.zip", 9), ("0.zip", 5), ("junk.zip.-25", 1), ("2.zip", 7)]
    path = tmp_path / "list.txt"
    path.write_text("\n".join(f"{name}\t{signed('https://a.test/' + name, h)}" for name, h in rows))

    plan = SOURCE.plan(["val2017"], DownloadContext(links=path))

    assert [file.name for file in plan.files] == ["0.zip", "2.zip", "1.zip"]
    assert plan.found


def test_a_list_of_another_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("other.tar\thttps://a.test/other.tar\n")
    with pytest.raises(UsageError, match=r"names no file of coco .*got other\.tar"):
        SOURCE.plan(["val2017"], DownloadContext(links=path))


def test_a_list_of_dead_links_is_one_line_and_no_request(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    links = serve_list(server, tmp_path / "list.txt", dict.fromkeys(BODIES, -1))
    ended = f"{NOW - timedelta(hours=1):%Y-%m-%d %H:%M} UTC"
    with pytest.raises(UsageError, match=f"3 links ended {ended}. Get a fresh list") as raised:
        bring(tmp_path, links, fetcher)
    assert "\n" not in str(raised.value)
    assert server.seen == []


def test_without_a_list_the_command_says_what_to_do(
    tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    with pytest.raises(UsageError, match=r"3 files are missing.*Ask, then add --links FILE"):
        bring(tmp_path, None, fetcher)


def test_living_links_are_used_beside_dead_ones_and_a_fresh_list_goes_on(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    links = serve_list(server, tmp_path / "list.txt", {"0.zip": 1, "1.zip": -1, "2.zip": 2})
    report = bring(tmp_path, links, fetcher)
    assert [outcome.name for outcome in report.failed] == ["1.zip"]
    assert "the link of 1.zip ended" in report.failed[0].detail

    fresh = serve_list(server, tmp_path / "fresh.txt", dict.fromkeys(BODIES, 3))
    server.seen.clear()
    assert not bring(tmp_path, fresh, fetcher).failed
    assert [seen.path.partition("?")[0] for seen in server.seen] == ["/1.zip"]
    assert not bring(tmp_path, None, fetcher).failed


def test_a_link_that_dies_half_way_keeps_its_bytes_for_the_next_list(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    links = serve_list(server, tmp_path / "list.txt", {"0.zip": 1})
    (path,) = server.faults
    server.faults[path] = [cut(100_000), page("URL signature expired", 403)]
    report = bring(tmp_path, links, fetcher)
    assert "Get a fresh list of links" in report.failed[0].detail
    assert "secret" not in report.failed[0].detail
    folder = tmp_path / "coco"
    assert (folder / "0.zip.part").stat().st_size == 100_000
    assert "secret" not in (folder / "0.zip.part.json").read_text()

    fresh = serve_list(server, tmp_path / "fresh.txt", {"0.zip": 5})
    server.seen.clear()
    report = bring(tmp_path, fresh, fetcher)

    assert report.outcomes[0].status == "resumed"
    assert server.ranges() == ["bytes=100000-"]
    assert (folder / "0.zip").read_bytes() == BODIES["0.zip"]
    assert "secret" not in (folder / LEDGER_NAME).read_text()
    assert "secret" not in (folder / "files.json").read_text()


def test_a_fresh_list_that_leads_to_another_file_starts_again(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    links = serve_list(server, tmp_path / "list.txt", {"0.zip": 1})
    (path,) = server.faults
    server.faults[path] = [cut(100_000), status(403)]
    bring(tmp_path, links, fetcher)
    other = make_zip({"0.jpg": b"other" * 70_000})
    url = signed(f"{server.base}/moved.zip", 4)
    server.put(url.removeprefix(f"{server.base}/"), other)
    fresh = tmp_path / "fresh.txt"
    fresh.write_text(f"0.zip\t{url}")

    assert not bring(tmp_path, fresh, fetcher).failed
    assert (tmp_path / "coco/0.zip").read_bytes() == other


def test_later_stages_know_what_was_listed_without_the_list(
    server: FaultServer, tmp_path: Path, fetcher: ResumingFetcher
) -> None:
    folder = tmp_path / "coco"
    context = DownloadContext(folder=folder)
    assert len(SOURCE.plan(["val2017"], context).files) == len(BODIES)
    bring(tmp_path, serve_list(server, tmp_path / "a.txt", {"1.zip": 1}), fetcher)
    assert [file.name for file in SOURCE.plan(["val2017"], context).files] == ["1.zip"]
    bring(tmp_path, serve_list(server, tmp_path / "b.txt", {"2.zip": 1}), fetcher)

    plan = SOURCE.plan(["val2017"], context)

    assert [file.name for file in plan.files] == ["1.zip", "2.zip"]
    assert all(file.urls == () for file in plan.files)


def test_files_that_will_be_late_are_found_in_the_order_of_fetching() -> None:
    files = [
        replace(remote(f"{n}.zip"), urls=(signed("https://a.test/", hours),))
        for n, hours in enumerate([1, 2, 2])
    ]
    left = [(file, 3_600_000) for file in files]
    assert will_be_late(left, 1500.0, NOW) == (files[2],)
    assert will_be_late(left, 1_000_000.0, NOW) == ()
    assert will_be_late(left, 0.0, NOW) == ()
    assert is_dead(files[0], NOW + timedelta(hours=3))
    assert not is_dead(remote("a.zip"), NOW)
    assert "ended" in dead_links(files, "https://a.test")
