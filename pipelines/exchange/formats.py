"""The formats that a manifest can be exported to, by name. Their libraries load when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.exchange.base import ExportFormat
from schemas.errors import UsageError
from schemas.features import FeatureSpec
from schemas.ids import nearest_name

Features = Sequence[FeatureSpec]


def open_format(name: str, features: Features) -> ExportFormat:
    """Return the format of that name.

    Raises
    ------
    UnknownNameError
        There is none of that name.
    UsageError
        The library that writes it is not installed.
    """
    if name not in FORMATS:
        raise nearest_name("format", name, FORMATS)
    package, make = FORMATS[name]
    try:
        return make(features)
    except ImportError as cause:
        raise UsageError(
            f"format {name} needs {package}, which cannot be imported: {cause}",
            fix=f"Run `pip install {package}`.",
        ) from cause


def _webdataset(features: Features) -> ExportFormat:
    from pipelines.exchange.webdataset_tar import WebDatasetFormat

    del features
    return WebDatasetFormat()


def _hugging_face(features: Features) -> ExportFormat:
    from pipelines.exchange.hugging_face import HuggingFaceFormat

    return HuggingFaceFormat(features)


def _mds(features: Features) -> ExportFormat:
    from pipelines.exchange.mds import MdsFormat

    return MdsFormat(features)


def _litdata(features: Features) -> ExportFormat:
    from pipelines.exchange.litdata_chunks import LitDataFormat

    del features
    return LitDataFormat()


def _dump(layout: str) -> Callable[[Features], ExportFormat]:
    def make(features: Features) -> ExportFormat:
        from pipelines.exchange.dump_export import DumpFormat
        from pipelines.exchange.dump_layout import find_layout

        return DumpFormat(find_layout(layout), features)

    return make


FORMATS: dict[str, tuple[str, Callable[[Features], ExportFormat]]] = {
    "webdataset": ("webdataset", _webdataset),
    "hf": ("datasets", _hugging_face),
    "mds": ("samdistill", _mds),
    "litdata": ("litdata", _litdata),
    "efficientsam3": ("samdistill", _dump("efficientsam3")),
    "edgesam": ("samdistill", _dump("edgesam")),
}
"""Name -> package and format."""
