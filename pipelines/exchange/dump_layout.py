"""The layout of teacher dumps as TinyViT's loop writes them, and EdgeSAM's and EfficientSAM3's.

A rank has two files: ``rankN-keys.txt``, a key per line, and ``rankN-values.bin``, for each key a
record: the int32 seed of the augmentation, then the feature as float16 in C order, little-endian.
Source: ``data/augmentation/manager.py`` and ``dataset_wrapper.py`` in microsoft/Cream (TinyViT,
8dc3882), chongzhou96/EdgeSAM (b53372c) and SimonZeng7108/efficientsam3 (c1f0b02).
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.features import FeatureSpec, PreprocessSpec, get_feature
from schemas.ids import nearest_name

SEED_BYTES = 4

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpLayout:
    """What one program dumps, and where below the folder that its user names."""

    name: str
    architecture: str
    """Class of its teacher."""
    feature: str
    item_shape: tuple[int, ...]
    image_size: int
    by_epoch: bool
    """Whether the files lie in ``logits_top<channels>_epoch<number>``."""

    @property
    def preprocess(self) -> PreprocessSpec:
        """How it prepares an image: both resize the longer side and pad to a square."""
        return PreprocessSpec(
            image_size=self.image_size,
            resize="longest-side-pad-bilinear-antialias-float32",
            **_IMAGENET,
        )

    def spec(self, item_shape: tuple[int, ...] | None = None) -> FeatureSpec:
        """Return what a row is; ``item_shape`` when the program was set up for another."""
        return FeatureSpec(
            name=self.feature,
            rows=get_feature(self.feature).rows,
            item_shape=item_shape or self.item_shape,
            codec="float16",
        )


LAYOUTS = {
    layout.name: layout
    for layout in (
        DumpLayout(
            name="efficientsam3",
            architecture="SAM3ImageTeacherEncoder",
            feature="image.trunk",
            item_shape=(1024, 72, 72),
            image_size=1008,
            by_epoch=False,
        ),
        DumpLayout(
            name="edgesam",
            architecture="ImageEncoderViT",
            feature="image.neck",
            item_shape=(256, 64, 64),
            image_size=1024,
            by_epoch=True,
        ),
    )
}


def find_layout(name: str) -> DumpLayout:
    """Return the layout of that name, or raise ``UnknownNameError`` with the nearest ones."""
    if name not in LAYOUTS:
        raise nearest_name("layout of dumps", name, LAYOUTS)
    return LAYOUTS[name]


def keys_name(rank: int) -> str:
    """Name of the file that lists the keys of a rank."""
    return f"rank{rank}-keys.txt"


def values_name(rank: int) -> str:
    """Name of the file that holds the records of a rank, in the order of its keys."""
    return f"rank{rank}-values.bin"


def epoch_folder(channels: int, epoch: int) -> str:
    """Name of the folder of one pass over the data."""
    return f"logits_top{channels}_epoch{epoch}"
