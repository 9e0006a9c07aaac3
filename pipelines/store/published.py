"""Published manifests: finding and opening them. Publishing is ``pipelines.jobs.publish``."""

from __future__ import annotations

from pipelines.store import layout
from pipelines.store.objects import ObjectStore
from schemas.errors import IncompleteError, UsageError
from schemas.ids import digest_bytes, nearest_name, parse_json
from schemas.manifests import Manifest


def manifest_names(store: ObjectStore) -> list[str]:
    """Return the names of all manifests of a root."""
    return sorted({key.split("/")[1] for key in store.keys("manifests") if key.count("/") == 2})


def manifest_versions(store: ObjectStore, name: str) -> list[int]:
    """Return the published versions of a manifest, ascending."""
    stems = [
        key.rpartition("/")[2].removesuffix(".json")
        for key in store.keys(layout.manifest_folder(name))
        if key.count("/") == 2
    ]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def open_manifest(store: ObjectStore, reference: str) -> tuple[Manifest, str]:
    """Open ``name`` (its latest version) or ``name@version``; return it and its digest.

    Raises
    ------
    UnknownNameError
        No manifest of that name; the nearest ones are listed.
    IncompleteError
        Nothing is published in this root.
    """
    name, _, version = reference.partition("@")
    names = manifest_names(store)
    if not names:
        raise IncompleteError(
            f"{store.url} has no manifest", fix=f"Run `samdistill publish {name}` first."
        )
    if name not in names:
        raise nearest_name("manifest", name, names)
    versions = manifest_versions(store, name)
    if version and not version.isdigit():
        raise UsageError(f"manifest {reference!r}", expected="name or name@number")
    number = int(version) if version else versions[-1]
    if number not in versions:
        raise UsageError(f"manifest {name} has no version {number}", expected=f"one of {versions}")
    key = layout.manifest_key(name, number)
    body = store.get(key)
    return parse_json(body, Manifest, key), digest_bytes(body)
