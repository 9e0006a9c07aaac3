from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from downloaders.ledger import Ledger, LedgerEntry
from schemas.errors import DataError


def entry(name: str = "a.zip", sha256: str | None = "0" * 64) -> LedgerEntry:
    return LedgerEntry(
        name=name,
        kind="folder" if sha256 is None else "file",
        url="http://example.org/a.zip",
        bytes=None if sha256 is None else 1,
        sha256=sha256,
        checksum=None,
        verified=False,
        when="2026-01-01T00:00:00+00:00",
        licence="CC BY 4.0",
        licence_accepted=True,
    )


def test_is_empty_before_the_first_entry(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none").entries() == ()


def test_keeps_all_entries_and_knows_the_newest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    added = [entry(), entry("b.zip"), entry(sha256="1" * 64)]
    for each in added:
        ledger.append(each)

    assert ledger.entries() == tuple(added)
    assert ledger.latest() == {"a.zip": added[2], "b.zip": added[1]}


@pytest.mark.parametrize("keep", [1, 40, -1])
def test_a_line_that_a_crash_cut_off_does_not_count(tmp_path: Path, keep: int) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(entry())
    first = ledger.path.read_bytes()
    ledger.path.write_bytes(first + first[:keep])

    assert ledger.entries() == (entry(),)
    ledger.append(entry("b.zip"))
    assert ledger.entries() == (entry(), entry("b.zip"))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(entry())
    ledger.path.write_bytes(ledger.path.read_bytes() + b'{"name": 3}\n')

    with pytest.raises(DataError, match=r"line 2 of .*ledger\.jsonl"):
        ledger.entries()


def test_appends_from_several_threads_do_not_mix(tmp_path: Path) -> None:
    names = [f"{number}.zip" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: Ledger(tmp_path).append(entry(name)), names))

    assert sorted(Ledger(tmp_path).latest()) == sorted(names)


def test_digest_of_a_folder_is_unverified() -> None:
    assert entry(sha256=None).digest == "unverified"
    assert entry().digest == f"sha256:{'0' * 64}"
