"""What of a manifest is read: the splits that have the wanted features of the wanted teachers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from pipelines.media.preprocess import Resize_HWC, resize_by, resize_to_square
from schemas.errors import IdentityError, UsageError
from schemas.features import (
    FeatureSpec,
    RowKind,
    TeacherSpec,
    View,
    get_feature,
    join_array_name,
    nearest_teacher,
    split_array_name,
)
from schemas.ids import nearest_name
from schemas.manifests import Manifest, ManifestFeature, ManifestSplit

_ADD = "Cache what is missing (other views by --views; imported features have none), publish again."


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChoice:
    """One feature array, as the caller names it."""

    name: str
    """The caller's."""
    array: str
    """``image.trunk``, or ``image.trunk@bfloat16`` for a codec other than the usual one."""
    teacher: TeacherSpec

    @property
    def rows(self) -> RowKind:
        """What a row stands for."""
        return get_feature(split_array_name(self.array)[0]).rows

    def array_of(self, view: View) -> str:
        """Return the name of the array that holds this view of the images."""
        if view == "identity" or self.rows != "sample":
            return self.array
        name, _, codec = split_array_name(self.array)
        return join_array_name(name, view, codec)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedSplit:
    """A published split, with the wanted features by the caller's names, in the wanted order."""

    published: ManifestSplit
    by_view: dict[View, dict[str, ManifestFeature]]
    """For each wanted view of the images; features of other things are the same in all."""

    @property
    def features(self) -> dict[str, ManifestFeature]:
        """Those of the first view: what they look like is the same in all."""
        return next(iter(self.by_view.values()))

    @property
    def place(self) -> str:
        """``dataset/split``."""
        return f"{self.published.split.dataset}/{self.published.split.split}"

    def of_kind(self, kind: RowKind, view: View | None = None) -> dict[str, ManifestFeature]:
        """Return the features whose rows are of that kind; by default of the first view."""
        features = self.features if view is None else self.by_view[view]
        return {name: item for name, item in features.items() if item.feature.rows == kind}

    def specs(self, kind: RowKind) -> dict[str, FeatureSpec]:
        """Return what a row of each feature of that kind looks like."""
        return {name: item.feature for name, item in self.of_kind(kind).items()}


def require_teacher(manifest: Manifest, wanted: TeacherSpec | str) -> TeacherSpec:
    """Return the wanted teacher of a manifest, given its spec or its digest.

    Raises
    ------
    IdentityError
        The manifest's features are another teacher's; given a spec, the message names each field
        that differs from the nearest one.
    """
    where = f"manifest {manifest.name}"
    digest = wanted if isinstance(wanted, str) else wanted.digest
    if found := manifest.teachers.get(digest):
        return found
    if isinstance(wanted, TeacherSpec) and manifest.teachers:
        wanted.require_same(nearest_teacher(manifest.teachers.values(), wanted), where)
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


def choose_features(
    manifest: Manifest,
    wanted: Sequence[str] | Mapping[str, str],
    teacher: str | None = None,
) -> tuple[FeatureChoice, ...]:
    """Return the wanted features.

    Parameters
    ----------
    wanted
        Names of arrays, each ``ARRAY`` or ``ARRAY/TEACHER``; or such names by the caller's own.
    teacher
        Digest of the teacher of arrays that are named without one; needed when there are several.

    Raises
    ------
    UnknownNameError
        No split has an array of that name of that teacher.
    """
    names = wanted if isinstance(wanted, Mapping) else {name: name for name in wanted}
    if not isinstance(wanted, Mapping) and len(names) < len(wanted):
        raise UsageError("features of a stream", expected="each once", got=", ".join(wanted))
    choices = []
    for name, reference in names.items():
        array, _, digest = reference.partition("/")
        digest = digest or teacher or ""
        spec = require_teacher(manifest, digest) if digest else only_teacher(manifest)
        specs = [
            item.feature for split in manifest.splits for item in _arrays(split, spec).values()
        ]
        known = {item.array_name for item in specs}
        # Named in no view, an array is there in any.
        known |= {msgspec.structs.replace(item, view="identity").array_name for item in specs}
        if array not in known:
            raise nearest_name(f"feature of manifest {manifest.name}", array, known)
        choices.append(FeatureChoice(name=name, array=array, teacher=spec))
    return tuple(choices)


def require_viewable(choices: Iterable[FeatureChoice], views: Sequence[View]) -> None:
    """Refuse features that would not be of what a stream of these views shows.

    Raises
    ------
    UsageError
        A feature is named in a view, or belongs to images as they are and others are wanted.
    """
    for choice in choices:
        name, view, codec = split_array_name(choice.array)
        if view:
            plain = join_array_name(name, "identity", codec)
            raise UsageError(
                f"feature {choice.array} is of images in another view",
                fix=f"Name {plain}, and {view} among the views.",
            )
        if choice.rows in ("object_frame", "prompt") and tuple(views) != ("identity",):
            raise UsageError(
                f"feature {name} is of images as they are",
                expected="the view identity alone",
                got=", ".join(views),
                fix="Read it by a stream of its own.",
            )


def select_splits(
    manifest: Manifest,
    choices: Iterable[FeatureChoice],
    names: Sequence[str] | None = None,
    views: Sequence[View] = ("identity",),
) -> tuple[SelectedSplit, ...]:
    """Return the splits that have all wanted features; the others cannot be trained on.

    Parameters
    ----------
    names
        Only these splits, as ``dataset/split``; each must have all features.
    views
        In which the features of samples are wanted.

    Raises
    ------
    UsageError
        No split has all wanted features, or a named one lacks some.
    """
    choices = tuple(choices)
    selected, lacking, complete_places = [], {}, set()
    for split in manifest.splits:
        one = SelectedSplit(
            published=split, by_view={view: _found(split, choices, view) for view in views}
        )
        missing = [
            choice.array_of(view)
            for view, found in one.by_view.items()
            for choice in choices
            if choice.name not in found
        ]
        if missing or not split.split.rows:
            lacking[one.place] = ", ".join(dict.fromkeys(missing)) or "images"
            continue
        complete_places.add(one.place)
        if names is None or one.place in names:
            selected.append(one)
    _require_named(manifest, names or (), complete_places, lacking)
    if not selected:
        arrays = dict.fromkeys(choice.array_of(view) for view in views for choice in choices)
        raise UsageError(
            f"no split of manifest {manifest.name} has all of {', '.join(arrays) or 'images'}",
            fix=_ADD,
        )
    return tuple(selected)


def shared_resize(manifest: Manifest, selected: SelectedSplit) -> Resize_HWC:
    """Return how the teachers of a stream's features bring an image to a size.

    Raises
    ------
    UsageError
        Two of them see other parts of it at the same place of their maps: no image fits both.
    """
    seeing = {
        name: manifest.teachers[item.teacher].preprocess
        for name, item in selected.features.items()
        if item.feature.rows != "phrase"
    }
    if len({(spec.resize, spec.mean if spec.pads else None) for spec in seeing.values()}) > 1:
        ways = ", ".join(f"{name} by {spec.resize}" for name, spec in seeing.items())
        raise UsageError(
            f"the teachers of manifest {manifest.name} prepare images in different ways: {ways}",
            fix="Read these features by a stream each.",
        )
    spec = next(iter(seeing.values()), None)
    return resize_to_square if spec is None else resize_by(spec)


def _require_named(
    manifest: Manifest, names: Sequence[str], complete: set[str], lacking: Mapping[str, str]
) -> None:
    for name in names:
        if name in lacking:
            raise UsageError(
                f"split {name} of manifest {manifest.name} has no {lacking[name]}", fix=_ADD
            )
        if name not in complete:
            raise nearest_name(f"split of manifest {manifest.name}", name, complete | set(lacking))


def _found(
    split: ManifestSplit, choices: Sequence[FeatureChoice], view: View
) -> dict[str, ManifestFeature]:
    """Return those of the chosen features that the split has in this view."""
    found = {
        choice.name: _arrays(split, choice.teacher).get(choice.array_of(view)) for choice in choices
    }
    return {name: feature for name, feature in found.items() if feature is not None}


def _arrays(split: ManifestSplit, teacher: TeacherSpec) -> dict[str, ManifestFeature]:
    mine = [found for found in split.features if found.teacher == teacher.digest]
    return {found.feature.array_name: found for found in mine}
