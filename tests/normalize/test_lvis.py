from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.coco_stills import CocoStills
from pipelines.normalize.lvis import lvis, plain_name
from pipelines.normalize.sources import local_files
from schemas.categories import Category
from schemas.errors import DataError, IncompleteError
from schemas.samples import Sample
from tests.contracts.normalizer_contract import NormalizerContract
from tests.fixtures import FIXTURES
from tests.normalize.archives import jpeg, write_folder
from tests.normalize.lvis_source import LvisSource


def opened(folder: Path, split: str = "val", **options: str) -> CocoStills:
    layout = LayoutOptions(**options)  # type: ignore[arg-type]
    return lvis(local_files(folder, "lvis", split), split, layout)


def samples(normalizer: Normalizer) -> dict[str, Sample]:
    return {
        sample.key: sample for group in normalizer.groups() for sample in normalizer.read(group)
    }


@pytest.fixture
def source() -> LvisSource:
    return LvisSource()


class TestLvisZips(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        return opened(LvisSource().write(tmp_path))


class TestLvisFolders(NormalizerContract):
    @pytest.fixture
    def normalizer(self, tmp_path: Path) -> Normalizer:
        source = LvisSource()
        body = json.dumps(source.annotations).encode()
        members = {f"coco/{path}": body for path, body in source.images.items()}
        return opened(write_folder(tmp_path, {"lvis/lvis_v1_val.json": body} | members))


def test_val_draws_from_both_of_cocos_archives(tmp_path: Path, source: LvisSource) -> None:
    found = samples(opened(source.write(tmp_path)))
    assert [(s.key, s.source.archive, s.source.member) for s in found.values()] == [
        ("000000000009", "val2017.zip", "val2017/000000000009.jpg"),
        ("000000000030", "train2017.zip", "train2017/000000000030.jpg"),
    ]


def test_one_of_the_archives_is_not_enough(tmp_path: Path, source: LvisSource) -> None:
    source.write(tmp_path)
    (tmp_path / "train2017.zip").unlink()
    with pytest.raises(IncompleteError, match="no folder train2017 with images"):
        opened(tmp_path).groups()


def test_an_object_is_called_by_its_name_and_its_synonyms(
    tmp_path: Path, source: LvisSource
) -> None:
    bow, can = samples(opened(source.write(tmp_path)))["000000000009"].annotations
    assert (bow.category, bow.phrases) == ("bow_(weapon)", ("bow",))
    assert (can.category, can.phrases) == ("aerosol_can", ("aerosol can", "spray can"))
    assert not can.is_crowd


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("bow_(decorative_ribbons)", "bow"),
        ("Christmas_tree", "Christmas tree"),
        ("batter_(food)", "batter"),
        ("trousers", "trousers"),
        ("phonograph_record_(old)_player", "phonograph record player"),
        ("(sense)", "(sense)"),
    ],
)
def test_names_are_said_without_their_sense(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_absent_categories_are_negative_phrases(tmp_path: Path, source: LvisSource) -> None:
    source.image(30)["neg_category_ids"] = [4, 1]
    assert samples(opened(source.write(tmp_path)))["000000000030"].negatives == (
        "Christmas tree",
        "aerosol can",
    )


def test_a_phrase_is_negative_only_when_all_that_it_names_is_absent(
    tmp_path: Path, source: LvisSource
) -> None:
    source.image(9)["neg_category_ids"] = [3]
    source.image(30)["neg_category_ids"] = [2, 3]
    found = samples(opened(source.write(tmp_path)))
    assert found["000000000009"].negatives == ()  # the other kind of bow is there
    assert found["000000000030"].negatives == ("bow",)


def test_categories_that_are_not_exhaustive_say_so_twice(
    tmp_path: Path, source: LvisSource
) -> None:
    source.image(9)["not_exhaustive_category_ids"] = [1]
    sample = samples(opened(source.write(tmp_path)))["000000000009"]
    assert sample.not_exhaustive == ("aerosol can", "spray can")
    assert [item.exhaustive for item in sample.annotations] == [True, False]


def test_images_without_the_lists_have_none(tmp_path: Path, source: LvisSource) -> None:
    for image in source.annotations["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    sample = samples(opened(source.write(tmp_path)))["000000000009"]
    assert (sample.negatives, sample.not_exhaustive) == ((), ())


def test_a_missing_image_is_a_quarantined_row(tmp_path: Path, source: LvisSource) -> None:
    source.annotations["images"].append(
        source.image(30) | {"id": 31, "coco_url": "http://x/train2017/000000000031.jpg"}
    )
    sample = samples(opened(source.write(tmp_path)))["000000000031"]
    assert sample.quarantine == "missing: train2017/000000000031.jpg"


def test_an_image_without_url_is_refused(tmp_path: Path, source: LvisSource) -> None:
    del source.image(30)["coco_url"]
    with pytest.raises(DataError, match=r"lvis_v1_val\.json: image 30 does not say which file"):
        opened(source.write(tmp_path)).groups()


def test_what_is_known_of_categories_is_kept(tmp_path: Path, source: LvisSource) -> None:
    first = opened(source.write(tmp_path)).categories()[0]
    assert first == Category(
        name="aerosol_can",
        id=1,
        synset="aerosol_can.n.01",
        frequency="c",
        synonyms=("aerosol_can", "spray_can"),
        definition="what aerosol_can is",
    )


def test_test_dev_has_images_only(tmp_path: Path, source: LvisSource) -> None:
    images = [source.image(30) | {"coco_url": "http://images.cocodataset.org/test2017/1.jpg"}]
    body = json.dumps({"images": images, "categories": []}).encode()
    members = {"test2017/1.jpg": jpeg(20, 16), "lvis_v1_image_info_test_dev.json": body}
    (sample,) = samples(opened(write_folder(tmp_path, members), "test-dev")).values()
    assert (sample.key, sample.annotations, sample.quarantine) == ("1", (), None)


@pytest.mark.skipif(not FIXTURES.exists(), reason="no fixtures here")
def test_a_published_file_of_v05(tmp_path: Path) -> None:
    body = (FIXTURES / "lvis" / "annotations" / "lvis_v0.5_val_100.json").read_bytes()
    record = next(i for i in json.loads(body)["images"] if i["not_exhaustive_category_ids"])
    name = record["coco_url"].rpartition("/")[2]
    image = {f"val2017/{name}": jpeg(record["width"], record["height"])}
    write_folder(tmp_path, {"lvis_v0.5_val_100.json": body} | image)
    found = samples(opened(tmp_path, annotations="lvis_v0.5_val_100.json"))
    sound = [sample for sample in found.values() if sample.quarantine is None]
    assert len(found) == 100
    assert [sample.source.member.rpartition("/")[2] for sample in sound] == [name]
    assert sound[0].not_exhaustive
    assert sound[0].negatives
    assert not any("_" in phrase or "(" in phrase for phrase in sound[0].negatives)
