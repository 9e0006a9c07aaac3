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
    """Decode the whole image; return the sample, or quarantined when it cannot be used."""
    if sample.quarantine is not None:
        return quarantined(sample, sample.quarantine)
    try:
        width, height = verify_image(sample.encoded, sample.key)
    except DataError as error:
        return quarantined(sample, str(error).removeprefix(f"{sample.key}: "))
    if (width, height) != (sample.width, sample.height):
        stated = f"{sample.width}x{sample.height}"
        return quarantined(
            sample, f"size-mismatch: the image is {width}x{height}, its annotations say {stated}"
        )
    return sample
