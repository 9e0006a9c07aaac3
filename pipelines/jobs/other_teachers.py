"""Keeps a changed teacher from starting beside the features of the one before it, by accident.

Every teacher has folders of its own. So an upgraded library, or another precision, would not mix
with what is there; it would begin anew without a word, at the price of everything cached so far.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipelines.jobs.cache import CachePlan
from pipelines.store import layout
from pipelines.store.arrays import find_array_record
from schemas.errors import IdentityError
from schemas.features import VIEWS, TeacherSpec, differing_fields, nearest_teacher


def require_no_others(plan: CachePlan) -> None:
    """Refuse to cache features of a split that another teacher has begun.

    Imported features do not count: no library makes them another's.

    Raises
    ------
    IdentityError
        The message names each field that differs from the nearest such teacher, with both values.
    """
    others = {spec.digest: (folder, spec) for folder, spec in _others(plan)}
    if others:
        nearest = nearest_teacher((spec for _, spec in others.values()), plan.teacher)
        folder, _ = others[nearest.digest]
        raise IdentityError(
            f"{folder} holds the same feature of another teacher, wanted != stored: "
            f"{'; '.join(differing_fields(plan.teacher, nearest))}",
            fix="Go on with the teacher and the libraries that have made it, or add --beside to "
            "cache features of both.",
        )


def _others(plan: CachePlan) -> Iterator[tuple[str, TeacherSpec]]:
    """Yield the folders of the planned arrays by other teachers, with these."""
    store, record = plan.split.store, plan.split.record
    for teacher in store.folders(layout.features_folder(record.dataset, record.split)):
        if teacher == plan.teacher.digest:
            continue
        for name in _names(plan):
            folder = layout.array_folder(record.dataset, record.split, teacher, name)
            found = find_array_record(store, folder)
            if found is not None and not found.teacher.imported:
                yield folder, found.teacher


def _names(plan: CachePlan) -> dict[str, None]:
    """Return the planned arrays, in all views: training needs those of one teacher."""
    return {
        msgspec.structs.replace(array.feature, view=view).array_name: None
        for array in plan.arrays
        for view in (VIEWS if array.feature.rows == "sample" else VIEWS[:1])
    }
