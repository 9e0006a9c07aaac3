"""What the tracker is told about a clip: which object to follow, from which frame on."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.masks import MaskRLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The first annotated mask of an object; the tracker follows it from this frame on."""

    object_id: int
    frame: int
    mask: MaskRLE


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFrame:
    """One object on one frame: what one row of a ``memory.*`` array stands for."""

    clip: str
    object_id: int
    frame: int


def object_frames(clip: str, frames: int, prompts: tuple[Prompt, ...]) -> list[ObjectFrame]:
    """Return the rows that tracking ``clip`` makes, in their order: by object, then by frame.

    An object has a row for its prompt's frame and for each later frame of the clip.
    """
    ordered = sorted(prompts, key=lambda prompt: prompt.object_id)
    return [
        ObjectFrame(clip=clip, object_id=prompt.object_id, frame=frame)
        for prompt in ordered
        for frame in range(prompt.frame, frames)
    ]
