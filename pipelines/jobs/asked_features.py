"""Which features a user wants, from what he has typed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from pipelines.teachers.base import FeatureShapes
from schemas.errors import UsageError
from schemas.features import (
    FEATURES,
    VIEWS,
    FeatureSpec,
    RowKind,
    View,
    checked_views,
    family_of,
    find_view,
    get_feature,
    group_of,
    split_array_name,
)
from schemas.ids import nearest_name

GROUPS = tuple(dict.fromkeys(group_of(name) for name in FEATURES))
"""What ``--features`` takes beside exact names: all features of a group but those on request."""

USUAL_GROUPS = ("image", "text", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFeature:
    """A feature that the user wants, before a teacher has given it a shape."""

    name: str
    view: View = "identity"
    codec: str | None = None
    """None for the feature's usual one."""

    @property
    def rows(self) -> RowKind:
        """What a row of it stands for."""
        return get_feature(self.name).rows

    def of(self, teacher: FeatureShapes) -> FeatureSpec:
        """Return the feature as this teacher makes it."""
        return msgspec.structs.replace(teacher.feature(self.name, self.codec), view=self.view)


def expand_features(
    wanted: Iterable[str], views: Sequence[str] = ("identity",)
) -> list[AskedFeature]:
    """Return the features that are wanted, groups expanded, each once, in the order of FEATURES.

    The order decides which array of a unit is committed first; so it must not be the user's.

    Parameters
    ----------
    wanted
        Groups (``GROUPS``) or features, with ``@codec`` where not the usual one; empty for
        ``USUAL_GROUPS``.
    views
        Of the images, for features of images. Without ``identity``, all other features are left
        out: they are of images as they are.

    Raises
    ------
    UnknownNameError
        No such feature, group or view.
    UsageError
        Nothing is left of what is wanted.
    """
    seen = checked_views(views)
    chosen = [
        AskedFeature(name=name, view=view, codec=codec)
        for name, codec in _expand_groups(wanted)
        for view in seen
        if view == "identity" or get_feature(name).rows == "sample"
    ]
    if not chosen:
        raise UsageError(
            f"no view but identity of {', '.join(wanted)}",
            expected=f"features of images for --views {','.join(views)}",
            fix="Add identity to --views, or image to --features.",
        )
    places = list(FEATURES)

    def order(asked: AskedFeature) -> tuple[int, str, int, str]:
        view = VIEWS.index(asked.view)
        return places.index(family_of(asked.name)), asked.name, view, asked.codec or ""

    return sorted(dict.fromkeys(chosen), key=order)


def _expand_groups(wanted: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Yield names and codecs of features; some more than once."""
    for text in wanted or USUAL_GROUPS:
        name, view, codec = split_array_name(text)
        if name in GROUPS:
            usual = [key for key, kind in FEATURES.items() if not kind.on_request]
            members = [key for key in usual if group_of(key) == name]
        elif family_of(name) in FEATURES:
            members = [name]
        else:
            raise nearest_name("feature", name, [*GROUPS, *FEATURES])
        if view:
            fix = f"Add --views {find_view(view)} in its place."
            raise UsageError(f"feature {text!r} names a view", fix=fix)
        yield from ((member, codec or None) for member in members)
