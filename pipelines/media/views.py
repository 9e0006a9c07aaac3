"""Views of a stored image: what a teacher or a student is shown of it. H height, W width."""

from __future__ import annotations

import numpy as np

from pipelines.media.images import Image_HWC
from schemas.features import View


def view_image(image_HWC: Image_HWC, view: View) -> Image_HWC:
    """Return this view of an image: itself, or a mirrored copy.

    It comes before resizing, so that a mirrored image is prepared like any other image.
    """
    return image_HWC if view == "identity" else np.ascontiguousarray(image_HWC[:, ::-1])
