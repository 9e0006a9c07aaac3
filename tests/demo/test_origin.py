from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from downloaders.base import DownloadContext
from downloaders.registry import find_dataset
from pipelines.demo.origin import SPLITS, write_link_lists
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.registry import open_splits

LIMIT = 2_200_000


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_link_lists(tmp_path_factory.mktemp("links"), "http://127.0.0.1:1")


@pytest.mark.parametrize("name", SPLITS)
def test_every_planned_file_is_where_its_publisher_has_it(
    origin: Path, links: dict[str, Path], name: str
) -> None:
    context = DownloadContext(links=links.get(name))
    files = find_dataset(name).plan(SPLITS[name], context).files
    assert files
    for file in files:
        path = origin / name / file.path
        assert path.is_file(), path
        assert path.stat().st_size < LIMIT


@pytest.mark.parametrize("name", SPLITS)
def test_normalizers_take_every_image(origin: Path, tmp_path: Path, name: str) -> None:
    # A copy, as indexes of archives are kept beside them.
    source = Path(shutil.copytree(origin / name, tmp_path / name))
    for normalizer in open_splits(name, SPLITS[name], source, LayoutOptions(), downloaded=False):
        groups = normalizer.groups()
        samples = [sample for group in groups for sample in normalizer.read(group)]
        assert samples
        assert [sample.quarantine for sample in samples] == [None] * len(samples)
        assert any(sample.annotations for sample in samples)
        assert not any(normalizer.dropped().values())
