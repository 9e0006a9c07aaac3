"""The teacher of features that a benchmark makes up."""

from __future__ import annotations

from schemas.features import PreprocessSpec, TeacherSpec, TokenizeSpec

TEACHER = TeacherSpec(
    architecture="none",
    config="",
    weights="",
    preprocess=PreprocessSpec(image_size=1008),
    tokenize=TokenizeSpec(vocabulary="", context=32, pad_id=0),
    precision="float32",
    attention="sdpa",
    libraries={},
)
