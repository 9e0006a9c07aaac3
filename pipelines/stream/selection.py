"""What of a manifest is read: the splits that have the wanted features of one teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import IdentityError, UsageError
from schemas.features import TeacherSpec
from schemas.ids import nearest_name
from schemas.manifests import Manifest, ManifestFeature, ManifestSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedSplit:
    """A published split, with the wanted features in the wanted order."""

    published: ManifestSplit
    features: tuple[ManifestFeature, ...]


def require_teacher(manifest: Manifest, wanted: TeacherSpec | str) -> TeacherSpec:
    """Return the wanted teacher of a manifest, given its spec or its digest.

    Raises
    ------
    IdentityError
        The manifest's features are another teacher's; given a spec, the message names each field
        that differs.
    """
    where = f"manifest {manifest.name}"
    digest = wanted if isinstance(wanted, str) else wanted.digest
    if found := manifest.teachers.get(digest):
        return found
    if isinstance(wanted, TeacherSpec) and len(manifest.teachers) == 1:
        wanted.require_same(only_teacher(manifest), where)
    raise IdentityError(
        f"{where} holds no features of teacher {digest}",
        expected=f"teacher {digest}",
        got=f"teachers {', '.join(sorted(manifest.teachers)) or 'none'}",
        fix="Cache with the teacher you want, publish, and name that manifest.",
    )


def only_teacher(manifest: Manifest) -> TeacherSpec:
    """Return the teacher of a manifest that has one; with more, the caller must say which."""
    if len(manifest.teachers) != 1:
        raise UsageError(
            f"manifest {manifest.name} does not say which teacher to read",
            expected="one teacher",
            got=", ".join(sorted(manifest.teachers)) or "none",
            fix="Name one of them by its digest.",
        )
    (teacher,) = manifest.teachers.values()
    return teacher


def select_splits(
    manifest: Manifest, features: Sequence[str], teacher: TeacherSpec
) -> tuple[SelectedSplit, ...]:
    """Return the splits that have all wanted features; the others cannot be trained on.

    A feature is named as its array is: ``image.trunk``, or ``image.trunk@bfloat16`` for a codec
    other than the usual one.

    Raises
    ------
    UnknownNameError
        No split has a feature of that name.
    UsageError
        A feature has no row per sample, or no split has all wanted features.
    """
    for name in features:
        _require_feature(manifest, name, teacher)
    selected = []
    for split in manifest.splits:
        found = _features(split, teacher)
        if all(name in found for name in features):
            wanted = tuple(found[name] for name in features)
            selected.append(SelectedSplit(published=split, features=wanted))
    if not selected:
        raise UsageError(f"no split of manifest {manifest.name} has all of {', '.join(features)}")
    return tuple(selected)


def _features(split: ManifestSplit, teacher: TeacherSpec) -> dict[str, ManifestFeature]:
    mine = [found for found in split.features if found.teacher == teacher.digest]
    return {found.feature.array_name: found for found in mine}


def _require_feature(manifest: Manifest, name: str, teacher: TeacherSpec) -> None:
    known = {
        array: found.feature
        for split in manifest.splits
        for array, found in _features(split, teacher).items()
    }
    if name not in known:
        raise nearest_name(f"feature of manifest {manifest.name}", name, known)
    if known[name].rows != "sample":
        raise UsageError(
            f"feature {name} cannot be streamed by sample",
            expected="rows of kind sample",
            got=known[name].rows,
        )
