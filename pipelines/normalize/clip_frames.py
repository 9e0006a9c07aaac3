"""Reading one frame of a clip that is stored as images."""

from __future__ import annotations

from pathlib import PurePosixPath

from pipelines.media.images import image_size
from pipelines.normalize.sources import SourceFiles
from schemas.errors import DataError
from schemas.ids import frame_key
from schemas.samples import Sample, Source


def read_frame(files: SourceFiles, clip: str, position: int, source: Source) -> Sample:
    """Return a frame without annotations; one without a readable size is quarantined."""
    member = PurePosixPath(source.member)
    encoded, key, fault = files.read(source), frame_key(clip, member.stem), None
    try:
        width, height = image_size(encoded, key)
    except DataError as error:
        width, height, fault = 0, 0, str(error).removeprefix(f"{key}: ")
    return Sample(
        key=key,
        source=source,
        width=width,
        height=height,
        encoded=encoded,
        extension=member.suffix[1:].lower(),
        clip=clip,
        frame=position,
        quarantine=fault,
    )
