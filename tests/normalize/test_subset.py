from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.davis import davis
from pipelines.normalize.sources import local_files
from pipelines.normalize.subset import (
    KeyList,
    Share,
    Subset,
    hash_share,
    keys_file,
    parse_name,
    subset_rule,
    take_subset,
)
from schemas.errors import IncompleteError, UsageError
from schemas.ids import digest_bytes
from tests.contracts.normalizer_contract import NormalizerContract
from tests.jobs.normalized_split import Stills
from tests.normalize.archives import DavisSource


@dataclass(frozen=True)
class Renamed(Stills):
    """Stills with a version that begins with its data set, as those of data sets do."""

    version = "made-up-1"


HASH = 0.879090498563


def keys_of(normalizer: Normalizer) -> list[str]:
    return [group.key for group in normalizer.groups()]


class TestSubsetOfClips(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        source = DavisSource()
        source.clip("cat", [(1,), ()])
        source.members["DAVIS/ImageSets/2017/val.txt"] += b"cat\n"
        files = local_files(source.write(tmp_path), "davis", "val")
        return Subset(davis(files, "val", LayoutOptions()), KeyList(frozenset(["ant", "cat"])))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(key=st.text(min_size=1), small=st.integers(1, 9999), more=st.integers(0, 9999))
def test_shares_are_nested(key: str, small: int, more: int) -> None:
    large = min(small + more, 9999)
    parts = [Share.parse(f"{number / 100:.2f}%") for number in (small, large)]
    assert parts[0].keeps("d", key) <= parts[1].keeps("d", key)


def test_a_share_is_about_its_size_and_differs_between_data_sets() -> None:
    share = Share.parse("10%")
    kept = {name: {n for n in range(20000) if share.keeps(name, f"k{n}")} for name in ("a", "b")}
    assert all(1850 < len(numbers) < 2150 for numbers in kept.values())
    assert len(kept["a"] & kept["b"]) < 300


def test_the_hash_is_the_same_everywhere() -> None:
    # Written down: other values would be other subsets under the same name.
    assert hash_share("sa-1b", "sa_226381") == pytest.approx(HASH, abs=1e-9)
    script = "from pipelines.normalize.subset import hash_share;print(hash_share('a', 'b'))"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert float(run.stdout) == hash_share("a", "b")


def test_a_share_keeps_the_same_keys_whatever_else_is_there() -> None:
    rule = Share.parse("30%")
    few, many = Subset(Renamed(count=40), rule), Subset(Renamed(count=400), rule)
    assert keys_of(few) == [key for key in keys_of(many) if key in keys_of(Renamed(count=40))]
    assert few.split == "stills-30pct"
    assert few.identity == f"30% blake3:{digest_bytes(keys_file(keys_of(few)))}"
    assert few.identity != many.identity
    assert few.version == "made-up-1 --subset=30pct"


def test_the_digest_is_that_of_the_sorted_list() -> None:
    assert keys_file(["b", "a"]) == b"a\nb\n"


def test_a_list_of_ids_names_its_split_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("still-003\n\nstill-001\n still-003")
    rule = subset_rule(None, path)
    (part,) = take_subset([Renamed()], rule)
    assert keys_of(part) == ["still-001", "still-003"]
    digest = digest_bytes(keys_file(["still-001", "still-003"]))
    assert part.split == f"stills-ids-{digest[:8]}"
    assert isinstance(part, Subset)
    assert part.identity == f"2 ids blake3:{digest}"


def test_ids_that_are_nowhere_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("still-003 nothing")
    with pytest.raises(IncompleteError, match=r"1 of 2 ids .*made-up/stills.*nothing"):
        take_subset([Renamed()], subset_rule(None, path))
    path.write_text(" \n")
    with pytest.raises(UsageError, match="has no keys"):
        subset_rule(None, path)
    with pytest.raises(UsageError, match="cannot be read"):
        subset_rule(None, tmp_path / "absent")


def test_a_share_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(IncompleteError, match="keeps nothing"):
        take_subset([Renamed(count=2)], Share.parse("0.0001%"))


@pytest.mark.parametrize("text", ["1", "0%", "100%", "-1%", "1e-3%", "one%", "", "0.0000001%"])
def test_shares_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="--subset"):
        Share.parse(text)


@pytest.mark.parametrize(
    ("text", "suffix"), [("1%", "1pct"), ("1.0%", "1pct"), ("0.50%", "0p5pct"), ("10%", "10pct")]
)
def test_equal_shares_have_one_name(text: str, suffix: str) -> None:
    assert Share.parse(text).suffix == suffix


def test_the_name_may_hold_the_share() -> None:
    assert parse_name("sa-1b@1%", None) == ("sa-1b", "1%")
    assert parse_name("sa-1b", "2%") == ("sa-1b", "2%")
    assert parse_name("sa-1b", None) == ("sa-1b", None)
    with pytest.raises(UsageError, match="both state"):
        parse_name("sa-1b@1%", "1%")
    with pytest.raises(UsageError, match="given both"):
        subset_rule("1%", Path("ids.txt"))


def test_nothing_asked_is_the_whole() -> None:
    assert take_subset([Renamed()], subset_rule(None, None)) == [Renamed()]
