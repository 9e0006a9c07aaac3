"""What a data set says of its categories, beyond the name that each object carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One kind of object. What the data set does not state is None or empty."""

    name: str
    """As published, and as ``Annotation.category`` has it."""
    id: int | None = None
    supercategory: str | None = None
    synset: str | None = None
    """WordNet's, for example ``acorn.n.01``."""
    frequency: str | None = None
    """LVIS: ``r`` on few training images, ``c`` common, ``f`` frequent."""
    synonyms: tuple[str, ...] = ()
    definition: str | None = None
