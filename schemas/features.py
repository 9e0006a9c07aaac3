"""Identity and shape of teacher features: who computed them, from what, stored how."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from math import prod
from typing import Literal, get_args

import msgspec
import numpy as np

from schemas.codec import get_codec
from schemas.errors import IdentityError, UsageError
from schemas.ids import canonical_json, digest_bytes, nearest_name
from schemas.prompts import PromptKind

RowKind = Literal["sample", "phrase", "object_frame", "prompt"]
Resize = Literal["bilinear-antialias-uint8", "longest-side-pad-bilinear-antialias-float32"]
"""How an image fills the teacher's square: stretched to it, or as it is, with padding to the right
and below of what is zero once it is normalized."""
Precision = Literal["float32", "bfloat16-autocast", "float16-autocast"]
View = Literal["identity", "hflip"]
"""What the teacher is shown of a stored image: all of it as it is, or mirrored left to right."""
VIEWS: tuple[View, ...] = get_args(View)


class PreprocessSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an RGB uint8 image becomes the teacher's input tensor."""

    image_size: int
    """Side of the square that the teacher takes, in pixels."""
    resize: Resize = "bilinear-antialias-uint8"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def pads(self) -> bool:
        """Whether the longer side fills the square, and the rest of it is empty."""
        return self.resize == "longest-side-pad-bilinear-antialias-float32"


class TokenizeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a phrase becomes token ids."""

    vocabulary: str
    """blake3 of the merges file."""
    context: int
    """Tokens per phrase, with start and end marks; longer phrases are cut, the end mark stays."""
    pad_id: int
    cleaning: Literal["ftfy-html-whitespace-lower"] = "ftfy-html-whitespace-lower"


class TeacherSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides the value of a feature. Two equal digests mean interchangeable features."""

    architecture: str
    """Class name of the model, for example ``Sam3VideoModel``."""
    config: str
    """blake3 of the model's configuration, without paths, dates and library versions; the name of
    the program, of imported features."""
    weights: str
    """blake3 over names, dtypes, shapes and bytes of all tensors, in the order of their names. Of
    imported features ``file:`` and the blake3 of a checkpoint, or ``dump:`` and that of samples of
    the dump."""
    preprocess: PreprocessSpec
    tokenize: TokenizeSpec | None
    """None: the teacher takes no text."""
    precision: Precision
    """Arithmetic of the forward pass."""
    attention: str
    """Name of the attention implementation, for example ``sdpa``; ``unstated`` of imports."""
    libraries: dict[str, str]
    """``{"torch": "2.14", "transformers": "5.23"}``: major.minor of what computes; empty when
    nobody knows."""

    @property
    def digest(self) -> str:
        """16 hex characters: part of the path of every array this teacher fills."""
        return digest_bytes(canonical_json(self))[:16]

    @property
    def imported(self) -> bool:
        """Whether another program has computed the features: nothing here can do it again."""
        return self.weights.startswith(("file:", "dump:"))

    def require_same(self, other: TeacherSpec, where: str) -> None:
        """Refuse ``other`` unless it is this very teacher.

        Raises
        ------
        IdentityError
            The message names each field that differs, with both values.
        """
        changed = differing_fields(self, other)
        if changed:
            raise IdentityError(
                f"{where} holds features of another teacher, wanted != found: {'; '.join(changed)}",
                expected=f"teacher {self.digest}",
                got=f"teacher {other.digest}",
                fix="Cache with the teacher you want, publish, and name that manifest.",
            )


def nearest_teacher(specs: Iterable[TeacherSpec], wanted: TeacherSpec) -> TeacherSpec:
    """Return which of ``specs``, at least one, differs from ``wanted`` in the fewest fields."""
    return min(specs, key=lambda spec: (len(differing_fields(wanted, spec)), spec.digest))


def differing_fields(expected: msgspec.Struct, got: msgspec.Struct) -> list[str]:
    """Return ``field: expected != got`` for each leaf that differs between two equal structs."""
    return _differing(expected, got, "")


def _differing(expected: object, got: object, path: str) -> list[str]:
    left, right = _fields(expected), _fields(got)
    if isinstance(left, dict) and isinstance(right, dict):
        changed = []
        for name in sorted(left.keys() | right.keys()):
            changed += _differing(
                left.get(name), right.get(name), f"{path}.{name}" if path else name
            )
        return changed
    if expected == got:
        return []
    return [f"{path}: {msgspec.to_builtins(expected)!r} != {msgspec.to_builtins(got)!r}"]


def _fields(value: object) -> object:
    """Return a struct as a dict, with what has its default."""
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return value


class FeatureSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One array of features: what a row stands for and what it looks like.

    What has its default is not written: arrays of before there were views keep their bytes.
    """

    name: str
    """Such as ``image.trunk``; see ``FEATURES``."""
    rows: RowKind
    item_shape: tuple[int, ...]
    """Shape of one row; ``()`` for a scalar."""
    codec: str
    view: View = "identity"
    """Of the image, where a row is a sample; all other rows are of images as they are."""

    def __post_init__(self) -> None:
        # msgspec leaves a default out only when it is the same object; one unpickled is another.
        msgspec.structs.force_setattr(self, "view", sys.intern(self.view))

    @property
    def item_bytes(self) -> int:
        """Stored bytes of one row, without its checksum."""
        return prod(self.stored_shape) * np.dtype(get_codec(self.codec).stored).itemsize

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one row on disk: the item's, or its bytes when the codec stores parts."""
        return get_codec(self.codec).stored_shape(self.item_shape)

    @property
    def array_name(self) -> str:
        """Folder of the array: the name, then the view and the codec where not the usual ones."""
        codec = "" if self.codec == get_feature(self.name).codec else self.codec
        return join_array_name(self.name, self.view, codec)


class FeatureKind(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that this project knows how to compute, before a teacher gives it a shape."""

    rows: RowKind
    codec: str = "float16"
    about: str
    on_request: bool = False
    """Not among the features that the name of their group stands for."""
    channels: int | None = None
    """The dimension of a row that counts channels; None where no two of its values are alike."""


MEMORY_GROUPS: dict[PromptKind, str] = {
    "mask": "memory",
    "box": "memory.box",
    "point": "memory.point",
}
"""Groups of memory features, by what the tracker was shown of an object on its first frame."""

_MEMORY = {
    "maskmem": FeatureKind(
        rows="object_frame", channels=0, about="spatial memory of one object on one frame"
    ),
    "object_pointer": FeatureKind(
        rows="object_frame", channels=0, about="object pointer of the mask decoder"
    ),
    "mask_logits": FeatureKind(rows="object_frame", about="low-resolution mask logits"),
    "object_score": FeatureKind(
        rows="object_frame", codec="float32", about="logit of the object being visible"
    ),
    "iou": FeatureKind(
        rows="object_frame", codec="float32", about="IoU that the decoder expects of its mask"
    ),
    "conditioned": FeatureKind(
        rows="object_frame",
        channels=0,
        about="the image's map after it has seen the memory, as it enters the mask decoder",
        on_request=True,
    ),
}

FEATURES: dict[str, FeatureKind] = {
    "image.trunk": FeatureKind(
        rows="sample", channels=0, about="last hidden state of the ViT trunk, before the neck"
    ),
    "image.layerNN": FeatureKind(
        rows="sample",
        channels=0,
        about="hidden state behind block NN of the trunk; 00: what enters the first block",
        on_request=True,
    ),
    "image.fpn72.detector": FeatureKind(
        rows="sample",
        channels=0,
        about="level of the detector's neck at the trunk's own stride of 14",
    ),
    "image.fpn72.tracker": FeatureKind(
        rows="sample",
        channels=0,
        about="level of the tracker's neck at the trunk's own stride of 14",
    ),
    "image.neck": FeatureKind(
        rows="sample",
        channels=0,
        about="output of SAM's image encoder, behind its neck; imported only",
        on_request=True,
    ),
    "text.tokens": FeatureKind(
        rows="phrase", channels=1, about="projected text features of every token"
    ),
    "text.mask": FeatureKind(
        rows="phrase", codec="uint8", about="1 for a real token, 0 for padding"
    ),
    **{
        f"{group}.{leaf}": kind
        for group in MEMORY_GROUPS.values()
        for leaf, kind in _MEMORY.items()
    },
    "prompts.points": FeatureKind(
        rows="prompt", codec="float32", about="the object's sampled pixel, column and row"
    ),
    "prompts.boxes": FeatureKind(
        rows="prompt", codec="float32", about="the object's first and last pixel, column and row"
    ),
    "prompts.mask_logits": FeatureKind(
        rows="prompt", about="low-resolution mask logits for the prompt"
    ),
    "prompts.iou": FeatureKind(
        rows="prompt", codec="float32", about="IoU that the decoder expects of its mask"
    ),
}
"""All features, or families of them: ``NN`` stands for two digits.

What stands before the last dot is the feature's group.
"""

_FAMILY = re.compile(r"(?<=^image\.layer)\d\d$")


def get_feature(name: str) -> FeatureKind:
    """Return the feature of that name, or raise ``UnknownNameError`` with the nearest ones."""
    try:
        return FEATURES[family_of(name)]
    except KeyError:
        raise nearest_name("feature", name, FEATURES) from None


def family_of(name: str) -> str:
    """Return the name under which ``FEATURES`` knows a feature."""
    return _FAMILY.sub("NN", name)


def find_view(name: str) -> View:
    """Return the view of that name, or raise ``UnknownNameError`` with the nearest ones."""
    for view in VIEWS:
        if view == name:
            return view
    raise nearest_name("view", name, VIEWS)


def checked_views(names: Iterable[str]) -> tuple[View, ...]:
    """Return the views of these names, at least one and each once, in the order of ``VIEWS``."""
    if isinstance(names, str):
        raise UsageError("views", expected='names, as ("identity", "hflip")', got=repr(names))
    found = [find_view(name) for name in names]
    if not found or len(set(found)) < len(found):
        raise UsageError("views", expected="one or more, each once", got=", ".join(found) or "none")
    return tuple(sorted(found, key=VIEWS.index))


def join_array_name(name: str, view: str, codec: str) -> str:
    """Return ``NAME[~VIEW][@CODEC]``: neither the view identity nor an empty codec is named."""
    shown = "" if view == "identity" else f"~{view}"
    return f"{name}{shown}@{codec}" if codec else f"{name}{shown}"


def split_array_name(array: str) -> tuple[str, str, str]:
    """Return name, view and codec of ``NAME[~VIEW][@CODEC]``; empty where none is named."""
    named, _, codec = array.partition("@")
    name, _, view = named.partition("~")
    return name, view, codec


def group_of(name: str) -> str:
    """Return the group of a feature: ``image`` of ``image.trunk``."""
    return name.rpartition(".")[0]
