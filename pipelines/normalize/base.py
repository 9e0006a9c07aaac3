"""What a normalizer promises, and what a user may say about the layout of a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from schemas.errors import UsageError
from schemas.samples import Group, MediaKind, Sample


class Normalizer(Protocol):
    """One split of one data set, read from its archives.

    Picklable and cheap to make: archives are opened and annotations parsed when first needed.
    Equal sources give equal groups and samples, in the same order, in every process.
    """

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        ...

    @property
    def split(self) -> str:
        """Name of the split."""
        ...

    @property
    def media(self) -> MediaKind:
        """What a group is: a still or a clip."""
        ...

    @property
    def licence(self) -> str:
        """The terms of the data, as the publisher states them."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same source would give other samples, options included."""
        ...

    def sources(self) -> Mapping[str, str]:
        """Return the archives by name with a digest of what is read from them."""
        ...

    def groups(self) -> Sequence[Group]:
        """Return all groups, sorted by part and key.

        Raises
        ------
        IncompleteError
            The source does not hold this split.
        """
        ...

    def read(self, group: Group) -> Iterator[Sample]:
        """Yield the ``group.rows`` samples of a group; a bad one is quarantined, never left out."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """Return how many records of the annotation files no sample holds, by reason."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutOptions:
    """Where things lie in a source that is not laid out as its publisher does it.

    Each name is an option of ``samdistill normalize``; paths are relative to the source, and
    folders above them need not be given.
    """

    annotations: str | None = None
    images: str | None = None
    frames: str | None = None
    masks: str | None = None
    clips: str | None = None
    """Pattern of clip names: take these, whatever the split's list says."""
    resize_masks: bool = False
    limit: int | None = None
    """Text corpora: only the first so many captions or pairs of a split."""
    every: int | None = None
    """SA-V: every how many frames of the 24 per second are samples; 4 when not given."""
    quality: int | None = None
    """SA-V train: quality of the JPEGs that its frames become; 95 when not given."""
    keep_video: bool = False
    """SA-V train: keep the videos, rather than frames of them."""

    def allow(self, dataset: str, *names: str) -> None:
        """Refuse options that mean nothing for a data set."""
        for name in self.given():
            if name not in names:
                raise UsageError(
                    f"{_option(name)} means nothing for {dataset}",
                    expected=f"one of {', '.join(map(_option, names))}",
                )

    def version(self, base: str) -> str:
        """Return ``base`` and the options that were given: other options, other samples."""
        return " ".join(
            [base, *(f"{_option(name)}={value}" for name, value in self.given().items())]
        )

    def given(self) -> dict[str, object]:
        """Return the options that a user gave, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
