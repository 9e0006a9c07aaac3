"""Reads the demo's archives whole, by the standard library alone."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Contents = dict[str, bytes]


def read_zip(path: Path) -> Contents:
    """Return the files of a zip by name."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {
            entry.filename: archive.read(entry)
            for entry in archive.infolist()
            if not entry.is_dir()
        }


def read_tar(body: bytes) -> Contents:
    """Return the files of a plain tar by name."""
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as archive:
        for entry in archive:
            if file := archive.extractfile(entry):
                contents[entry.name] = file.read()
    return contents


def read_tar_gz(body: bytes) -> Contents:
    """Return the files of a gzipped tar by name."""
    return read_tar(gzip.decompress(body))


def open_image(body: bytes) -> Image.Image:
    """Return a decoded image."""
    image = Image.open(io.BytesIO(body))
    image.load()
    return image


def indices(body: bytes) -> npt.NDArray[np.uint8]:
    """Return the palette indices of a mask."""
    image = open_image(body)
    assert (image.format, image.mode) == ("PNG", "P")
    return np.asarray(image)


def under(contents: Contents, folder: str) -> dict[str, bytes]:
    """Return the files right in ``folder`` by their stems, in order."""
    return {
        name.rpartition("/")[2].partition(".")[0]: body
        for name, body in sorted(contents.items())
        if name.rpartition("/")[0] == folder
    }
