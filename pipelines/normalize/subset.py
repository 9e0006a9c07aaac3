"""A part of a split that is the same on every machine, with an identity that can be published.

A share keeps a group when the hash of its name is below it: whatever else is there, and so that 1 %
lies within 2 %. A list of keys keeps these. Groups are kept whole: of clips all frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import blake3

from pipelines.normalize.base import Normalizer
from pipelines.normalize.categories import described_categories
from schemas.categories import Category
from schemas.errors import IncompleteError, UsageError
from schemas.ids import digest_bytes
from schemas.samples import Group, MediaKind, Sample

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)
_NAMED = 8


def hash_share(salt: str, key: str) -> float:
    """Return a number in [0, 1) that depends on the two texts alone, evenly spread over keys."""
    digest = blake3.blake3(f"{salt}/{key}".encode()).digest(length=6)
    return int.from_bytes(digest, "big") / (1 << 48)


@dataclass(frozen=True, slots=True)
class Share:
    """Groups by their hash."""

    percent: Decimal

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read ``1%`` or ``0.5%``."""
        found = _SHARE.fullmatch(text)
        if found is None or not 0 < Decimal(found[1]) < 100:
            raise UsageError(f"--subset {text}", expected="a share between 0% and 100%, as 1%")
        return cls(Decimal(found[1]).normalize())

    @property
    def rule(self) -> str:
        """The rule as people write it."""
        return f"{self.percent:f}%"

    @property
    def suffix(self) -> str:
        """What the split's name ends in; a safe part of any path."""
        return f"{self.percent:f}pct".replace(".", "p")

    def keeps(self, dataset: str, key: str) -> bool:
        """Say whether a group is in."""
        return hash_share(dataset, key) < float(self.percent / 100)


@dataclass(frozen=True, slots=True)
class KeyList:
    """Groups by name."""

    keys: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> KeyList:
        """Read a file with one key per line; blank lines and the order do not matter.

        Raises
        ------
        UsageError
            There is no such file, or it is empty.
        """
        try:
            keys = frozenset(path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError) as cause:
            raise UsageError(f"--ids {path} cannot be read: {cause}") from cause
        if not keys:
            raise UsageError(f"--ids {path} has no keys", expected="one key per line")
        return cls(keys)

    @property
    def rule(self) -> str:
        """The rule as people write it."""
        return f"{len(self.keys)} ids"

    @property
    def suffix(self) -> str:
        """What the split's name ends in: the same list, the same name."""
        return f"ids-{digest_bytes(keys_file(self.keys))[:_NAMED]}"

    def keeps(self, _dataset: str, key: str) -> bool:
        """Say whether a group is in."""
        return key in self.keys


Rule = Share | KeyList


@dataclass(frozen=True)
class Subset:
    """The groups of another normalizer that a rule keeps; see ``Normalizer``."""

    whole: Normalizer
    rule: Rule

    @property
    def dataset(self) -> str:
        """See ``Normalizer.dataset``."""
        return self.whole.dataset

    @property
    def split(self) -> str:
        """See ``Normalizer.split``."""
        return f"{self.whole.split}-{self.rule.suffix}"

    @property
    def media(self) -> MediaKind:
        """See ``Normalizer.media``."""
        return self.whole.media

    @property
    def licence(self) -> str:
        """See ``Normalizer.licence``."""
        return self.whole.licence

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return f"{self.whole.version} --subset={self.rule.suffix}"

    @property
    def identity(self) -> str:
        """Rule and digest of the kept keys, for ``SplitRecord.subset``."""
        return f"{self.rule.rule} blake3:{digest_bytes(self.keys_file)}"

    @property
    def keys_file(self) -> bytes:
        """The kept keys, sorted, one per line: what ``--ids`` reads."""
        return keys_file(group.key for group in self.groups())

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``."""
        return self.whole.sources()

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``."""
        return self._groups

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``."""
        return self.whole.read(group)

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``: of the annotation files, which speak of the whole split."""
        return self.whole.dropped()

    def categories(self) -> Sequence[Category]:
        """See ``Categorised``."""
        return described_categories(self.whole)

    def __reduce__(self) -> tuple[type[Subset], tuple[Normalizer, Rule]]:
        return Subset, (self.whole, self.rule)

    @cached_property
    def _groups(self) -> Sequence[Group]:
        whole = self.whole.groups()
        return [group for group in whole if self.rule.keeps(self.dataset, group.key)]


def keys_file(keys: Iterable[str]) -> bytes:
    """Return a list of keys of which everyone has the same bytes: sorted, a newline after each."""
    return "".join(f"{key}\n" for key in sorted(keys)).encode()


def subset_rule(share: str | None, ids: Path | None) -> Rule | None:
    """Return the rule that the options of a command state; None for the whole.

    Raises
    ------
    UsageError
        Both are given, or one means nothing.
    """
    if share is not None and ids is not None:
        raise UsageError("--subset and --ids are given both", expected="one of them")
    if share is not None:
        return Share.parse(share)
    return None if ids is None else KeyList.read(ids)


def take_subset(splits: Sequence[Normalizer], rule: Rule | None) -> list[Normalizer]:
    """Return what the rule keeps of each split; splits of which it keeps nothing are left out.

    Raises
    ------
    IncompleteError
        It keeps nothing at all, or lists keys that no split has.
    """
    if rule is None:
        return list(splits)
    for split in splits:
        if split.media == "text":
            raise UsageError(f"{split.dataset} has no images to take a part of", fix="See --limit.")
    parts = [Subset(split, rule) for split in splits]
    kept = [part for part in parts if part.groups()]
    names = ", ".join(f"{split.dataset}/{split.split}" for split in splits)
    if isinstance(rule, KeyList):
        there = {group.key for part in kept for group in part.groups()}
        if lacking := sorted(rule.keys - there):
            raise IncompleteError(
                f"{len(lacking)} of {len(rule.keys)} ids are not in {names}",
                got=", ".join(lacking[:5]),
                fix="Complete the source, choose other splits by --split, or correct the list.",
            )
    if not kept:
        raise IncompleteError(f"{rule.rule} of {names} keeps nothing", fix="Ask for more.")
    return list(kept)


def parse_name(text: str, subset: str | None) -> tuple[str, str | None]:
    """Return data set and share of ``sa-1b@1%``, or ``subset`` when there is no ``@``.

    Raises
    ------
    UsageError
        The name and ``subset`` both state a share.
    """
    dataset, at, share = text.partition("@")
    if at and subset is not None:
        raise UsageError(f"{text} and --subset {subset} both state a share", expected="one of them")
    return dataset, share if at else subset
