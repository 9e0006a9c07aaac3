"""Splits of phrases only: SA-Co, Recap-DataComp-1B, Recap-COCO-30K, SACap."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from downloaders.base import Downloader
from downloaders.text_corpora import (
    RECAP_COCO,
    RECAP_DATACOMP,
    RECAP_DATACOMP_FILES,
    SACAP,
    SACO_GOLD,
    SACO_SILVER,
    SACO_VEVAL,
)
from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.corpus_files import (
    CorpusFile,
    NamePattern,
    corpus_digests,
    corpus_files,
)
from pipelines.normalize.noun_phrases import GOLD, SILVER, VEVAL, clip_pairs, image_pairs
from pipelines.normalize.phrases_of import PhraseUse
from pipelines.normalize.sources import SourceFiles
from schemas.errors import DataError, UsageError
from schemas.samples import Group, MediaKind, Sample

Reader = Callable[[Sequence[CorpusFile], NamePattern, Counter[str]], Iterator[PhraseUse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusKind:
    """What differs between corpora."""

    downloader: Downloader
    pattern: NamePattern
    read: Reader
    hub: str | None = None
    """Files to stream when none are on this machine."""
    small: bool = True
    """Whether files are small enough to be hashed when nothing else says what they hold."""


@dataclass(frozen=True)
class TextCorpus:
    """One split of a corpus; see ``PhraseCorpus``."""

    files: SourceFiles
    split: str
    options: LayoutOptions
    kind: CorpusKind
    media: MediaKind = "text"

    def __post_init__(self) -> None:
        self.options.allow(self.dataset, "limit")

    @property
    def dataset(self) -> str:
        """See ``Normalizer.dataset``."""
        return self.kind.downloader.entry.name

    @property
    def licence(self) -> str:
        """See ``Normalizer.licence``."""
        return self.kind.downloader.entry.licence

    @property
    def version(self) -> str:
        """See ``Normalizer.version``."""
        return self.options.version(f"{self.dataset}-1")

    def sources(self) -> Mapping[str, str]:
        """See ``Normalizer.sources``; what is streamed is named by its pinned revision."""
        if not self._found and self.kind.hub is not None:
            repository, _, rest = self.kind.hub.removeprefix("hf://").partition("@")
            return {repository: f"git:{rest.partition('/')[0]}"}
        return corpus_digests(self._found, content=self.kind.small)

    def groups(self) -> Sequence[Group]:
        """See ``Normalizer.groups``: there are none, and the files of the split are there."""
        _ = self._found
        return []

    def read(self, group: Group) -> Iterator[Sample]:
        """See ``Normalizer.read``: a corpus has no groups."""
        raise DataError(f"{self.dataset} has no group {group.key}", expected="phrases only")

    def dropped(self) -> Mapping[str, int]:
        """See ``Normalizer.dropped``: what is left out is counted by ``uses``."""
        return {}

    def uses(self, dropped: Counter[str]) -> Iterator[PhraseUse]:
        """See ``PhraseCorpus.uses``."""
        if not self._found and self.options.limit is None:
            raise UsageError(
                f"{self.dataset} has {self._records:,} captions, too many to stream whole",
                fix="Add --limit N for the first N, or give parquet files that you have by --from.",
            )
        pattern = self._pattern
        return itertools.islice(
            self.kind.read(self._found, pattern, dropped), self.options.limit or None
        )

    @property
    def _records(self) -> int:
        return sum(split.records or 0 for split in self.kind.downloader.entry.splits)

    @property
    def _pattern(self) -> NamePattern:
        return NamePattern(regex=self.kind.pattern.regex.replace("{split}", self.split))

    @cached_property
    def _found(self) -> list[CorpusFile]:
        if not self.files.archives and self.kind.hub is not None:
            return []
        return corpus_files(self.files, self._pattern)


@dataclass(frozen=True, slots=True)
class Corpora:
    """Makes the normalizers of one corpus."""

    kind: CorpusKind

    def __call__(self, files: SourceFiles, split: str, options: LayoutOptions) -> Normalizer:
        """Return the normalizer of one split."""
        return TextCorpus(files, split, options, self.kind)


def _captions(
    files: Sequence[CorpusFile], _pattern: NamePattern, dropped: Counter[str]
) -> Iterator[PhraseUse]:
    # `datasets` takes a second to import: only those pay for it who read tables.
    from pipelines.normalize.caption_tables import caption_uses

    return caption_uses(_places(files) or [RECAP_DATACOMP_FILES], dropped)


def _segments(
    files: Sequence[CorpusFile], _pattern: NamePattern, dropped: Counter[str]
) -> Iterator[PhraseUse]:
    from pipelines.normalize.caption_tables import segment_uses

    return segment_uses(_places(files), dropped)


def _places(files: Sequence[CorpusFile]) -> list[str]:
    inside = [file.name for file in files if file.path is None]
    if inside:
        raise DataError(
            f"{inside[0]} is inside {files[0].source.path}",
            expected="parquet files in a folder",
            fix="Unpack the archive and give the folder by --from.",
        )
    return [str(file.path) for file in files]


_ANY_TABLE = NamePattern(regex=r".+\.parquet")

saco_gold = Corpora(CorpusKind(downloader=SACO_GOLD, pattern=GOLD, read=image_pairs))
saco_silver = Corpora(CorpusKind(downloader=SACO_SILVER, pattern=SILVER, read=image_pairs))
saco_veval = Corpora(CorpusKind(downloader=SACO_VEVAL, pattern=VEVAL, read=clip_pairs))
recap_datacomp = Corpora(
    CorpusKind(
        downloader=RECAP_DATACOMP,
        pattern=_ANY_TABLE,
        read=_captions,
        hub=RECAP_DATACOMP_FILES,
        small=False,
    )
)
recap_coco = Corpora(
    CorpusKind(downloader=RECAP_COCO, pattern=_ANY_TABLE, read=_captions, small=False)
)
sacap = Corpora(
    CorpusKind(
        downloader=SACAP,
        pattern=NamePattern(regex=r"anno(_{split})?\.parquet"),
        read=_segments,
        small=False,
    )
)
