from __future__ import annotations

import numpy as np

from schemas.masks import encode_mask
from schemas.samples import Annotation


def test_a_mirrored_object_is_where_its_pixels_are() -> None:
    mask = np.zeros((30, 40), dtype=bool)
    mask[4:9, 2:12] = True
    found = Annotation(
        object_id=7,
        mask=encode_mask(mask),
        box=(2, 4, 12, 9),
        phrases=("left ear",),
        points=((2.5, 6.0), (11.5, 8.0)),
        crop_box=(0, 0, 20, 30),
    )
    mirrored = Annotation(
        object_id=7,
        mask=encode_mask(mask[:, ::-1]),
        box=(28, 4, 38, 9),
        phrases=("left ear",),
        points=((37.5, 6.0), (28.5, 8.0)),
        crop_box=(20, 0, 40, 30),
    )
    assert mirrored.mask is not None
    assert mirrored.mask.box == mirrored.box
    assert found.mirrored(40) == mirrored
    assert mirrored.mirrored(40) == found


def test_what_an_object_lacks_its_mirror_lacks_too() -> None:
    assert Annotation(object_id=1).mirrored(40) == Annotation(object_id=1)
