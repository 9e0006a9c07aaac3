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
    ).mirrored(40)
    assert found.mask == encode_mask(mask[:, ::-1])
    assert found.box == (28, 4, 38, 9)
    assert found.points == ((37.5, 6.0), (28.5, 8.0))
    assert found.crop_box == (20, 0, 40, 30)
    assert (found.object_id, found.phrases) == (7, ("left ear",))


def test_what_an_object_lacks_its_mirror_lacks_too() -> None:
    assert Annotation(object_id=1).mirrored(40) == Annotation(object_id=1)
