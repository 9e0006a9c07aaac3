"""Whether a sample's image is what its annotations speak of."""

from __future__ import annotations

from dataclasses import replace

from pipelines.media.images import verify_image
from schemas.errors import DataError
from schemas.samples import Sample


def quarantined(sample: Sample, reason: str) -> Sample:
    """Return the sample as a row that must not be used: no image, no objects, no captions."""
    return replace(
        sample,
        encoded=b"",
        annotations=(),
        captions=(),
        negatives=(),
        not_exhaustive=(),
        void=None,
        quarantine=reason,
    )


def checked(sample: Sample) -> Sample:
    """Return the sample, or quarantined when its image does not decode to the stated size."""
    if sample.quarantine is not None:
        return quarantined(sample, sample.quarantine)
    if sample.verified:
        return sample
    try:
        width, height = verify_image(sample.encoded, sample.key)
    except DataError as error:
        return quarantined(sample, str(error).removeprefix(f"{sample.key}: "))
    fault = size_mismatch(sample, width, height)
    return sample if fault is None else quarantined(sample, fault)


def size_mismatch(sample: Sample, width: int, height: int) -> str | None:
    """Return why an image of this size is not the sample's; None when it is."""
    if (width, height) == (sample.width, sample.height):
        return None
    stated = f"{sample.width}x{sample.height}"
    return f"size-mismatch: the image is {width}x{height}, its annotations say {stated}"
