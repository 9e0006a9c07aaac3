"""Which normalizers describe their categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from schemas.categories import Category


@runtime_checkable
class Categorised(Protocol):
    """A normalizer whose data set says more of a category than its name."""

    def categories(self) -> Sequence[Category]:
        """Return all categories of the data set, also those without objects, in its order."""
        ...


def described_categories(normalizer: object) -> Sequence[Category]:
    """Return what a normalizer says of its categories; nothing when it does not."""
    return normalizer.categories() if isinstance(normalizer, Categorised) else ()
