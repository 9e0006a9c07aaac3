"""Each rule of docs/checks.md for images, from the archive to the stored sample."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.media.images import decode_image
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.checks import checked
from pipelines.normalize.coco import coco
from pipelines.normalize.sources import local_files
from schemas.samples import Sample
from tests.normalize.archives import CocoSource, jpeg

NAME = "000000000009.jpg"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (20, 16), (10, 20, 30)), "JPEG", exif=exif)


def transparent() -> bytes:
    image = Image.new("P", (20, 16), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    return encoded(image, "PNG", transparency=bytes([255, 0]))


SOUND: dict[str, tuple[bytes, tuple[int, int, int]]] = {
    "cmyk": (encoded(Image.new("CMYK", (20, 16), (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
    "grey": (encoded(Image.new("L", (20, 16), 128), "JPEG"), (128, 128, 128)),
    "16 bit": (
        encoded(Image.fromarray(np.full((16, 20), 0x80FF, dtype=np.uint16)), "PNG"),
        (128, 128, 128),
    ),
    "palette with alpha": (transparent(), (200, 100, 50)),
    "exif rotation": (turned(), (10, 20, 30)),
    "png named jpg": (encoded(Image.new("RGB", (20, 16), (1, 2, 3)), "PNG"), (1, 2, 3)),
    "1 x 1": (encoded(Image.new("RGB", (1, 1), (128, 128, 128)), "JPEG"), (128, 128, 128)),
    "20,000 wide": (encoded(Image.new("RGB", (20_000, 2), (9, 9, 9)), "PNG"), (9, 9, 9)),
}
QUARANTINED: dict[str, tuple[bytes, str]] = {
    "truncated": (jpeg(20, 16)[:300], "truncated"),
    "zero bytes": (b"", "truncated"),
    "html named jpg": (b"<!DOCTYPE html><html></html>", "unsupported"),
    "another size than stated": (jpeg(16, 20), "size-mismatch"),
}


def normalized(folder: Path, body: bytes, width: int, height: int) -> Sample:
    source = CocoSource()
    source.images[NAME] = body
    source.instances["images"][0] |= {"width": width, "height": height}
    source.instances["annotations"] = []
    files = local_files(source.write(folder), "coco", "val2017")
    normalizer = coco(files, "val2017", LayoutOptions())
    samples = [sample for group in normalizer.groups() for sample in normalizer.read(group)]
    return next(checked(sample) for sample in samples if sample.key == NAME[:12])


@pytest.mark.parametrize("kind", SOUND)
def test_it_is_stored_as_published_and_decodes_by_the_rule(kind: str, tmp_path: Path) -> None:
    body, colour = SOUND[kind]
    with Image.open(io.BytesIO(body)) as image:
        size = image.size
    sample = normalized(tmp_path, body, *size)
    assert sample.quarantine is None
    assert sample.encoded == body
    assert (sample.width, sample.height) == size
    pixels = decode_image(body, kind)
    assert pixels.shape == (size[1], size[0], 3)
    assert np.abs(pixels.astype(int) - colour).max() <= 2


@pytest.mark.parametrize("kind", QUARANTINED)
def test_it_is_quarantined_with_its_reason(kind: str, tmp_path: Path) -> None:
    body, reason = QUARANTINED[kind]
    sample = normalized(tmp_path, body, 20, 16)
    assert sample.quarantine is not None
    assert sample.quarantine.partition(":")[0] == reason
