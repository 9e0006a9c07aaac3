"""Every data set and every transport by name. Values are imported when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from downloaders.base import Downloader
from downloaders.transport import Policy, Transport
from schemas.errors import UsageError
from schemas.ids import nearest_name

DATASETS: dict[str, str] = {
    "coco": "downloaders.coco:COCO",
    "davis": "downloaders.davis:DAVIS",
    "davis-2016": "downloaders.davis:DAVIS_2016",
    "davis-unsupervised": "downloaders.davis:DAVIS_UNSUPERVISED",
    "lvos-v1": "downloaders.lvos:LVOS_V1",
    "lvos-v2": "downloaders.lvos:LVOS_V2",
    "mose-v1": "downloaders.mose:MOSE_V1",
    "mose-v2": "downloaders.mose:MOSE_V2",
    "youtube-vos-2018": "downloaders.youtube_vos:YOUTUBE_VOS_2018",
    "youtube-vos-2019": "downloaders.youtube_vos:YOUTUBE_VOS_2019",
    "lvis": "downloaders.lvis:LVIS",
    "sa-1b": "downloaders.sa1b:SA_1B",
    "recap-coco-30k": "downloaders.text_corpora:RECAP_COCO",
    "recap-datacomp-1b": "downloaders.text_corpora:RECAP_DATACOMP",
    "sa-co-gold": "downloaders.text_corpora:SACO_GOLD",
    "sa-co-silver": "downloaders.text_corpora:SACO_SILVER",
    "sa-co-veval": "downloaders.text_corpora:SACO_VEVAL",
    "sacap": "downloaders.text_corpora:SACAP",
    "sa-v": "downloaders.sav:SAV",
}
TRANSPORTS: dict[str, str] = {
    "http": "downloaders.http:HttpTransport",
    "https": "downloaders.http:HttpTransport",
    "hf": "downloaders.hub:HubTransport",
    "gdrive": "downloaders.drive:DriveTransport",
    "s3": "downloaders.s3_source:S3Transport",
}


def find_dataset(name: str) -> Downloader:
    """Return the downloader of the data set ``name``.

    Raises
    ------
    UnknownNameError
        There is no such data set; the message lists the nearest names.
    """
    if name not in DATASETS:
        raise nearest_name("data set", name, DATASETS)
    return cast("Downloader", _load(DATASETS[name]))


def transport_name(url: str) -> str:
    """Return which of ``TRANSPORTS`` serves ``url``; schemes with equal values share one."""
    scheme = url.partition("://")[0].lower()
    if scheme not in TRANSPORTS:
        raise UsageError(
            f"cannot download from {url!r}",
            expected=f"a URL that starts with {' or '.join(f'{name}://' for name in TRANSPORTS)}",
            got=f"the scheme {scheme!r}",
        )
    return TRANSPORTS[scheme]


def open_transport(name: str, policy: Policy) -> Transport:
    """Return a new transport; the caller closes it."""
    kind = cast("Callable[[Policy], Transport]", _load(name))
    return kind(policy)


def _load(place: str) -> object:
    module, _, attribute = place.partition(":")
    return cast("object", getattr(importlib.import_module(module), attribute))
