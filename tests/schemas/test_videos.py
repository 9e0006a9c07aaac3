from __future__ import annotations

import numpy as np

from schemas.masks import encode_mask
from schemas.videos import Prompt, object_frames

MASK = encode_mask(np.ones((2, 2), dtype=bool))


def test_rows_go_by_object_then_by_frame_from_the_prompt_on() -> None:
    prompts = (
        Prompt(object_id=7, frame=0, mask=MASK),
        Prompt(object_id=2, frame=1, mask=MASK),
    )
    rows = [(row.object_id, row.frame) for row in object_frames("clip", 3, prompts)]
    assert rows == [(2, 1), (2, 2), (7, 0), (7, 1), (7, 2)]
