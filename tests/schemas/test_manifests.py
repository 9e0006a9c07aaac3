from __future__ import annotations

import msgspec
import pytest

from schemas.errors import DataError
from schemas.ids import canonical_json, parse_json
from schemas.manifests import ArrayRecord, CommitRecord, Manifest, SplitRecord
from schemas.reports import SplitReport

MANIFEST = Manifest(name="demo", teachers={}, splits=())


def test_a_manifest_comes_back() -> None:
    assert parse_json(canonical_json(MANIFEST), Manifest, "m.json") == MANIFEST


def test_a_manifest_of_another_version_is_refused() -> None:
    body = canonical_json(MANIFEST).replace(b'"schema_version": 2', b'"schema_version": 99')
    with pytest.raises(DataError, match=r"m\.json is not a valid Manifest: .*99.*schema_version"):
        parse_json(body, Manifest, "m.json")


@pytest.mark.parametrize("kind", [ArrayRecord, CommitRecord, Manifest, SplitRecord, SplitReport])
def test_every_stored_record_refuses_other_versions(kind: type[msgspec.Struct]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"99.*\$\.schema_version"):
        msgspec.convert({"schema_version": 99}, kind)
