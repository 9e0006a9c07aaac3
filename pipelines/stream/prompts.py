"""What the teacher made of points and boxes on the stills of a batch. Suffixes: Q prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipelines.stream.object_rows import ObjectRows
from pipelines.stream.objects import Objects
from schemas.errors import IntegrityError, UsageError
from schemas.prompts import PointPrompt, PromptKind, box_prompt, point_prompt

COLUMNS = ("object_id", "prompt")
POINTS, BOXES = "prompts.points", "prompts.boxes"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompts:
    """One row for each prompt of each object that has the teacher's answer.

    Image by image, object by object, a point before a box. An object without a mask has no rows,
    nor has a crowd, nor one whose answer was quarantined in any of the wanted features.
    """

    image: torch.Tensor
    """int64 ``[Q]``: which image of the batch."""
    object: torch.Tensor
    """int64 ``[Q]``: which of the image's objects, as ``Batch.objects[image]`` counts them."""
    object_id: torch.Tensor
    """int64 ``[Q]``."""
    kinds: tuple[PromptKind, ...]
    """``point`` or ``box``, of each row."""
    features: dict[str, torch.Tensor]
    """By the caller's names, ``[Q, *item]`` as stored."""

    def asked(self, sizes: npt.NDArray[np.int32]) -> list[list[PointPrompt]]:
        """Return the prompts of each image, in pixels as stored; what a prompt encoder takes.

        Parameters
        ----------
        sizes
            ``Batch.sizes``.

        Raises
        ------
        UsageError
            The stream was opened without ``prompts.points`` or ``prompts.boxes``.
        """
        if lacking := {POINTS, BOXES} - self.features.keys():
            raise UsageError(
                "the batch holds no coordinates of its prompts",
                expected=f"features {POINTS} and {BOXES}",
                got=f"no {', '.join(sorted(lacking))}",
                fix="Name them among the features of the stream.",
            )
        points_Q2, boxes_Q4 = self.features[POINTS].tolist(), self.features[BOXES].tolist()
        found: list[list[PointPrompt]] = [[] for _ in sizes]
        for row, image in enumerate(self.image.tolist()):
            width, height = (int(side) for side in sizes[image])
            if self.kinds[row] == "point":
                prompt = point_prompt(*points_Q2[row], height=height, width=width)
            else:
                prompt = box_prompt(*boxes_Q4[row], height=height, width=width)
            found[image].append(prompt)
        return found


def prompts_of(rows: ObjectRows, objects: Sequence[Objects], keys: Sequence[str]) -> Prompts:
    """Return the prompts that these rows are, given the objects of each image."""
    places = [
        {item.object_id: place for place, item in enumerate(items) if not item.is_crowd}
        for items in objects
    ]
    ids = rows.names["object_id"]
    place = []
    for image, object_id in zip(rows.image.tolist(), ids, strict=True):
        if object_id not in places[image]:
            raise IntegrityError(
                f"object {object_id} of {keys[image]} has prompts and is not among its objects",
                fix="The split was normalized anew after caching: cache and publish again.",
            )
        place.append(places[image][object_id])
    return Prompts(
        image=rows.image,
        object=torch.tensor(place, dtype=torch.int64),
        object_id=torch.tensor(ids, dtype=torch.int64),
        kinds=tuple(rows.names["prompt"]),
        features=rows.features,
    )
