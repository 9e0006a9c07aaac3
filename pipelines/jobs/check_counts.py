"""Whether a normalized split has as many images, clips and objects as its publisher says."""

from __future__ import annotations

from dataclasses import dataclass

from downloaders.base import RemoteFile, SplitFacts
from downloaders.registry import DATASETS, find_dataset
from pipelines.normalize.base import Normalizer
from schemas.errors import DataError
from schemas.manifests import SplitRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CountDifference:
    """A count that is not the published one."""

    what: str
    published: int
    found: int

    def __str__(self) -> str:
        return f"{self.found:,} {self.what}, published {self.published:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountCheck:
    """All differences of one split, and whether they prove that something is wrong."""

    split: str
    differences: tuple[CountDifference, ...]
    binding: bool
    """The published counts are verified, and the source is the whole published one."""

    def __str__(self) -> str:
        return f"{self.split}: {'; '.join(map(str, self.differences))}"


def check_counts(normalizer: Normalizer, record: SplitRecord) -> CountCheck:
    """Compare a split with what its data set's entry says of it.

    Nothing is compared when the user brought other bytes than those of a stated checksum
    (``--any-content``), or asked for a part (``--limit``, ``--clips``): they know.
    """
    name = f"{record.dataset}/{record.split}"
    facts, files = _published(normalizer)
    sources = dict(normalizer.sources())
    part = record.subset is not None or _has_options(normalizer)
    if facts is None or part or any(_is_other(file, sources) for file in files):
        return CountCheck(split=name, differences=(), binding=False)
    return CountCheck(
        split=name,
        differences=tuple(_differences(facts, record)),
        binding=facts.verified and _is_whole(files, sources),
    )


def require_published(normalizer: Normalizer, record: SplitRecord, *, any_count: bool) -> None:
    """Refuse a split that lacks, or exceeds, what the published files are known to hold.

    Raises
    ------
    DataError
        The counts differ, they are verified, and the source is the whole published one.
    """
    check = check_counts(normalizer, record)
    if check.differences and check.binding and not any_count:
        raise DataError(
            f"{record.dataset}/{record.split} is not what is published",
            expected=_listed({item.what: item.published for item in check.differences}),
            got=_listed({item.what: item.found for item in check.differences}),
            fix="Check the archives by `samdistill download --verify-existing`. If they are right "
            "and the published numbers are not, run this again with --any-count.",
        )


def _published(normalizer: Normalizer) -> tuple[SplitFacts | None, tuple[RemoteFile, ...]]:
    if normalizer.dataset not in DATASETS:
        return None, ()
    downloader = find_dataset(normalizer.dataset)
    facts = {split.name: split for split in downloader.entry.splits}.get(normalizer.split)
    return facts, downloader.plan([normalizer.split]).files if facts else ()


def _has_options(normalizer: Normalizer) -> bool:
    """Whether options were given: they are part of the version (``LayoutOptions.version``)."""
    return " --" in normalizer.version


def _is_other(file: RemoteFile, sources: dict[str, str]) -> bool:
    """Whether the bytes are known to differ from the published ones."""
    got, stated = sources.get(file.name), file.checksum
    hashed = got is not None and got.startswith("sha256:")
    return hashed and stated is not None and stated.startswith("sha256:") and got != stated


def _is_whole(files: tuple[RemoteFile, ...], sources: dict[str, str]) -> bool:
    """Whether every published file was read, each as it was downloaded."""
    digests = [sources.get(file.name, "unverified") for file in files]
    return bool(digests) and not any(digest.startswith("unverified") for digest in digests)


def _differences(facts: SplitFacts, record: SplitRecord) -> list[CountDifference]:
    pairs = {
        "images": (facts.images, record.rows),
        "clips": (facts.clips, record.counts.get("clips")),
        "objects": (facts.objects, _objects(record)),
        "records": (facts.records, record.counts.get("uses")),
    }
    return [
        CountDifference(what=what, published=published, found=found)
        for what, (published, found) in pairs.items()
        if published is not None and found is not None and published != found
    ]


def _objects(record: SplitRecord) -> int | None:
    """Return the objects as a publisher counts them; None when quarantine hides how many."""
    if record.quarantined:
        return None
    left_out = ("zero_area", "annotations_without_image")
    return sum(record.counts.get(name, 0) for name in ("objects", *left_out))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())
