"""Real photographs that scikit-image and scikit-learn ship inside their wheels."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec

from PIL import Image

from schemas.errors import UsageError

_FOLDERS = {
    "skimage": ("data",),
    "sklearn": ("datasets", "images"),
}
"""Folder of the photographs below each package; nothing here is fetched over the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """One object of a photograph, drawn by hand to within a few pixels.

    Outlines of one photograph are listed from back to front: a later one hides an earlier one.
    """

    category: str
    """A name in ``categories.CATEGORIES``."""
    phrase: str
    rings: str
    """Closed rings as ``x,y x,y ...``, in pixels of the photograph, with ``;`` between rings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A photograph by its place in a wheel, with what can be seen on it."""

    name: str
    package: str
    file: str
    caption: str
    credit: str
    licence: str
    slack: int = 4
    """How far, in pixels, a true edge may lie from its drawn outline."""
    outlines: tuple[Outline, ...] = ()

    def open(self) -> Image.Image:
        """Return the photograph as greyscale (``L``) or colour (``RGB``).

        Raises
        ------
        UsageError
            The wheel is not installed, or does not carry the file.
        """
        try:
            folder = resources.files(self.package).joinpath(*_FOLDERS[self.package])
            with folder.joinpath(self.file).open("rb") as body, Image.open(body) as image:
                return image.convert("L" if image.mode == "L" else "RGB")
        except (ModuleNotFoundError, FileNotFoundError) as cause:
            raise _not_installed(f"{self.file} of {self.package}") from cause


def require_photographs() -> None:
    """Check that the wheels with the photographs are there, before anything imports them.

    Raises
    ------
    UsageError
        One is not installed.
    """
    for package in _FOLDERS:
        if find_spec(package) is None:
            raise _not_installed(package)


def _not_installed(what: str) -> UsageError:
    return UsageError(
        f"the demo needs {what}, which is not installed",
        fix="Run: pip install 'samdistill[demo]'",
    )
