"""What a teacher is: it turns pixels, phrases and prompts into named features.

Suffixes: B batch, C channels, H height, W width, G side of the feature grid, P phrases, T tokens,
D width of a token.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from schemas.codec import get_codec
from schemas.errors import UsageError
from schemas.features import FEATURES, FeatureSpec, TeacherSpec, get_feature, group_of
from schemas.ids import nearest_name
from schemas.prompts import PointPrompt
from schemas.videos import Prompt

Float32 = npt.NDArray[np.float32]
Features = dict[str, npt.NDArray[Any]]
"""Values by feature name (``schemas.features.FEATURES``): float32, ``text.mask`` uint8."""
DeviceFeatures = dict[str, torch.Tensor]
"""The same, still on the teacher's device: floats of any width, perhaps not computed yet."""

TRUNK = ("image.trunk",)
MEMORY = tuple(
    name for name, kind in FEATURES.items() if group_of(name) == "memory" and not kind.on_request
)
"""What tracking is usually done for."""


PROMPTED = ("prompts.mask_logits", "prompts.iou")
"""What a teacher makes of a prompt on a still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherOptions:
    """How a teacher is run. Travels to the processes that load it."""

    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:N``."""
    precision: Literal["float32", "bfloat16-autocast"] = "float32"
    revision: str | None = None
    """Branch, tag or commit of a teacher from the hub."""
    text_context: int = 32
    """Tokens per phrase, with start and end marks."""
    compile: bool = False
    """Run the trunk through ``torch.compile``: faster after a warm-up, and rounded otherwise."""
    image_batch: int = 8
    """Frames that ``track`` puts through the trunk at once; it decodes no further ahead."""


def options_of(spec: TeacherSpec, device: str = "cpu") -> TeacherOptions:
    """Return the options by which a teacher has run.

    Raises
    ------
    UsageError
        Its features were imported: no teacher here has computed them.
    """
    if spec.imported:
        raise UsageError(
            f"the features of teacher {spec.digest} were imported ({spec.architecture}), and no "
            "teacher here computes them",
            fix="Name it by its digest where a choice is asked for.",
        )
    assert spec.tokenize is not None
    assert spec.precision != "float16-autocast"
    return TeacherOptions(
        device=device, precision=spec.precision, text_context=spec.tokenize.context
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedObject:
    """One object on one frame."""

    object_id: int
    features: Features
    """Each wanted ``memory.*`` feature, of the shape that ``Teacher.feature`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedFrame:
    """One frame of a clip, with the objects whose prompt lies on it or before it."""

    frame: int
    features: Features
    """Each wanted ``image.*`` feature: what ``encode_images`` gives for this frame."""
    objects: tuple[TrackedObject, ...]
    """In the order of their ids."""


class FeatureShapes(Protocol):
    """Knows what the features of a teacher look like."""

    def feature(self, name: str, codec: str | None = None) -> FeatureSpec:
        """Return the shape of a feature of this teacher, stored by ``codec`` or by its usual one.

        Raises
        ------
        UnknownNameError
            There is no such feature or codec.
        """


class TeacherIdentity(FeatureShapes, Protocol):
    """What can be said of a teacher that need not be in memory."""

    @property
    def spec(self) -> TeacherSpec:
        """All that decides the value of a feature."""


class Teacher(TeacherIdentity, Protocol):
    """A frozen model. Equal specs and equal input mean equal features, up to rounding."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def encode_images(self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK) -> Features:
        """Return the wanted ``image.*`` features of images that ``resize_to_square`` has prepared.

        What is not wanted is not computed.

        Raises
        ------
        DataError
            The batch is not uint8 ``[B, 3, image_size, image_size]``.
        """

    def encode_on_device(
        self, batch_BCHW: torch.Tensor, wanted: Collection[str] = TRUNK
    ) -> DeviceFeatures:
        """Return what ``encode_images`` does, without waiting for the device or copying from it.

        The batch may be on the device already. Nothing else writes to the tensors later.
        """

    def encode_prompts(
        self,
        batch_BCHW: torch.Tensor,
        prompts: Sequence[Sequence[PointPrompt]],
        wanted: Collection[str] = PROMPTED,
    ) -> DeviceFeatures:
        """Return one mask for each prompt on each image, in one pass of the trunk.

        Parameters
        ----------
        prompts
            Those of each image, in pixels of the image before it was resized.
        wanted
            Names of ``image.*`` features, one row for each image; of ``prompts.mask_logits`` and
            ``prompts.iou``, one row for each prompt, those of the first image first.

        Raises
        ------
        DataError
            As for ``encode_images``.
        """

    def encode_text(self, phrases: Sequence[str]) -> Features:
        """Return ``text.tokens`` and ``text.mask``; tokens of padding are all zeros."""

    def track(
        self,
        frames: Iterable[torch.Tensor],
        frame_count: int,
        prompts: Sequence[Prompt],
        wanted: Collection[str] = TRUNK + MEMORY,
    ) -> Iterator[TrackedFrame]:
        """Follow the prompted objects through a clip, in one pass and bounded memory.

        An object's features do not depend on objects that are prompted on other frames.

        Parameters
        ----------
        frames
            The clip's frames in time order, each uint8 ``[3, image_size, image_size]``; decoded
            lazily, at most one trunk batch ahead.
        frame_count
            How many there are: the tracker scales its time encoding by it.
        wanted
            Names of ``image.*`` and ``memory.*`` features.

        Raises
        ------
        DataError
            Two prompts for one object, a prompt outside the clip, or another number of frames.
        """


def make_feature(
    name: str, shapes: Mapping[str, tuple[int, ...]], codec: str | None = None
) -> FeatureSpec:
    """Return the spec of a feature, given the shapes of all features of a teacher."""
    kind = get_feature(name)
    if name not in shapes:
        raise nearest_name("feature of this teacher", name, shapes)
    stored = get_codec(codec).name if codec else kind.codec
    return FeatureSpec(name=name, rows=kind.rows, item_shape=shapes[name], codec=stored)
