from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipelines.normalize.base import LayoutOptions, Normalizer
from pipelines.normalize.phrases_of import PhraseCorpus, PhraseUse, clean_phrase
from pipelines.normalize.registry import open_splits
from schemas.errors import DataError, DownloadError, IncompleteError, UsageError
from tests.fixtures import FIXTURES
from tests.normalize.text_files import clip_pairs_file, pairs_file, table_file

GOLD = "gold_metaclip_merged_{}_release_test.json"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library looks up, it fails instead of asking the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def open_corpus(dataset: str, source: Path, split: str, limit: int | None = None) -> PhraseCorpus:
    options = LayoutOptions(limit=limit)
    (corpus,) = open_splits(dataset, [split], source, options, downloaded=False)
    assert isinstance(corpus, PhraseCorpus)
    return corpus


def read(corpus: PhraseCorpus) -> tuple[list[PhraseUse], dict[str, int]]:
    dropped: Counter[str] = Counter()
    uses = list(corpus.uses(dropped))
    return uses, {name: count for name, count in dropped.items() if count}


@pytest.mark.parametrize(
    ("text", "phrase"),
    [(" a Red\n car\t", "a Red car"), ("the\u00a0cat", "the cat"), (" \n", ""), ("Ü", "Ü")],
)
def test_phrases_are_equal_up_to_white_space(text: str, phrase: str) -> None:
    assert clean_phrase(text) == phrase
    assert clean_phrase(phrase) == phrase


class TestGold:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        pairs = {1: ("chili", 2), 2: (" fish \n ball", 0), 3: ("chili", 0), 4: ("  ", 1)}
        pairs_file(tmp_path / GOLD.format("a"), pairs)
        pairs_file(tmp_path / GOLD.format("b"), {**pairs, 2: ("fish ball", 5), 9: ("dog", 1)})
        pairs_file(tmp_path / "gold_sa1b_merged_a_release_test.json", {1: ("chili", 1)})
        return tmp_path

    def test_pairs_are_uses_and_those_without_objects_negatives(self, folder: Path) -> None:
        uses, dropped = read(open_corpus("sa-co-gold", folder, "test"))
        assert uses == [
            PhraseUse("chili", "metaclip", objects=2),
            PhraseUse("fish ball", "metaclip", negatives=1),
            PhraseUse("chili", "metaclip", negatives=1),
            PhraseUse("dog", "metaclip", objects=1),
            PhraseUse("chili", "sa1b", objects=1),
        ]
        assert dropped == {"empty_phrases": 1, "repeated_pairs": 4}

    def test_files_inside_an_archive_give_the_same(self, folder: Path, tmp_path: Path) -> None:
        packed = tmp_path / "packed" / "gt-annotations.zip"
        packed.parent.mkdir()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in folder.glob("*.json"):
                archive.write(path, f"gt-annotations/{path.name}")
        unpacked = read(open_corpus("sa-co-gold", folder, "test"))
        assert read(open_corpus("sa-co-gold", packed, "test")) == unpacked

    def test_a_copy_in_a_subfolder_is_refused(self, folder: Path) -> None:
        copy = folder / "more" / GOLD.format("a")
        copy.parent.mkdir()
        shutil.copy(folder / GOLD.format("a"), copy)
        with pytest.raises(DataError, match="two files gold_metaclip_merged_a"):
            open_corpus("sa-co-gold", folder, "test").groups()

    def test_the_digest_follows_the_content(self, folder: Path) -> None:
        before = dict(open_corpus("sa-co-gold", folder, "test").sources())
        assert before == dict(open_corpus("sa-co-gold", folder, "test").sources())
        pairs_file(folder / GOLD.format("b"), {1: ("cat", 1)})
        assert before != dict(open_corpus("sa-co-gold", folder, "test").sources())

    def test_it_travels_to_another_process(self, folder: Path) -> None:
        corpus = open_corpus("sa-co-gold", folder, "test")
        assert read(pickle.loads(pickle.dumps(corpus))) == read(corpus)

    def test_a_limit_takes_the_first_and_is_part_of_the_version(self, folder: Path) -> None:
        corpus = open_corpus("sa-co-gold", folder, "test", limit=2)
        assert [use.phrase for use in read(corpus)[0]] == ["chili", "fish ball"]
        assert corpus.version == "sa-co-gold-1 --limit=2"

    def test_another_layout_option_is_refused(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="--clips means nothing for sa-co-gold"):
            open_splits("sa-co-gold", ["test"], folder, LayoutOptions(clips="*"), downloaded=False)

    def test_a_broken_file_is_named(self, folder: Path) -> None:
        path = folder / GOLD.format("a")
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataError, match=r"metaclip_merged_a_release_test\.json is not"):
            read(open_corpus("sa-co-gold", folder, "test"))

    def test_a_folder_without_its_files_is_incomplete(self, tmp_path: Path) -> None:
        with pytest.raises(IncompleteError, match="no file whose name fits"):
            open_corpus("sa-co-gold", tmp_path, "test")

    @pytest.mark.skipif(not FIXTURES.is_dir(), reason="no fixtures beside the project")
    def test_the_published_example(self, tmp_path: Path) -> None:
        parts = {
            name: json.loads((FIXTURES / f"sa-co/gold/readme_sample_{name}.json").read_bytes())
            for name in ("images", "annotations")
        }
        (tmp_path / GOLD.format("a")).write_text(json.dumps(parts))
        uses, _ = read(open_corpus("sa-co-gold", tmp_path, "test"))
        assert uses == [
            PhraseUse("chili", "metaclip", objects=2),
            PhraseUse("the fish ball", "metaclip", negatives=1),
        ]


def test_silver_names_its_ten_sources_alike(tmp_path: Path) -> None:
    pairs_file(tmp_path / "silver_nga_art_merged_test.json", {1: ("a saint", 1)})
    pairs_file(tmp_path / "silver_fathomnet_test.json", {1: ("a shrimp", 0)})
    uses, _ = read(open_corpus("sa-co-silver", tmp_path, "test"))
    assert uses == [
        PhraseUse("a shrimp", "fathomnet", negatives=1),
        PhraseUse("a saint", "nga_art", objects=1),
    ]


class TestVeval:
    def test_objects_are_masklets(self, tmp_path: Path) -> None:
        clip_pairs_file(tmp_path / "saco_veval_sav_test.json", [("a dog", 3), ("a ufo", 0)])
        clip_pairs_file(tmp_path / "saco_veval_yt1b_val.json", [("a pan", 1)])
        test, _ = read(open_corpus("sa-co-veval", tmp_path, "test"))
        assert test == [
            PhraseUse("a dog", "sav", objects=3),
            PhraseUse("a ufo", "sav", negatives=1),
        ]
        val, _ = read(open_corpus("sa-co-veval", tmp_path, "val"))
        assert val == [PhraseUse("a pan", "yt1b", objects=1)]

    @pytest.mark.skipif(not FIXTURES.is_dir(), reason="no fixtures beside the project")
    def test_the_published_file(self, tmp_path: Path) -> None:
        published = FIXTURES / "sa-co/veval/toy_saco_veval_sav_test_gt.json"
        shutil.copy(published, tmp_path / "saco_veval_sav_test.json")
        pairs = json.loads(published.read_bytes())["video_np_pairs"]
        uses, dropped = read(open_corpus("sa-co-veval", tmp_path, "test"))
        assert len(uses) == len(pairs) > 0
        assert sum(use.objects for use in uses) == sum(pair["num_masklets"] for pair in pairs)
        assert not dropped


class TestCaptions:
    def test_files_are_read_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        for number, caption in ((1, "second"), (0, "first")):
            table_file(
                tmp_path / f"train-{number:05d}-of-00002.parquet",
                url=["http://x"],
                re_caption=[caption],
                org_caption=["other"],
            )
        uses, _ = read(open_corpus("recap-datacomp-1b", tmp_path, "train"))
        assert uses == [
            PhraseUse("first", "re_caption", captions=1),
            PhraseUse("second", "re_caption", captions=1),
        ]

    def test_empty_captions_are_counted_and_more_than_one_batch_is_read(
        self, tmp_path: Path
    ) -> None:
        texts = [None, " ", *(f"caption {number}" for number in range(2500))]
        table_file(tmp_path / "new_data.parquet", image_id=list(range(2502)), recaption=texts)
        uses, dropped = read(open_corpus("recap-coco-30k", tmp_path, "train"))
        assert [use.phrase for use in uses] == texts[2:]
        assert dropped == {"empty_phrases": 2}

    def test_a_table_without_captions_names_its_columns(self, tmp_path: Path) -> None:
        table_file(tmp_path / "new_data.parquet", image_id=[1], words=["x"])
        with pytest.raises(DataError, match=r"re_caption or .*; got image_id, words"):
            read(open_corpus("recap-coco-30k", tmp_path, "train"))

    def test_a_truncated_table_is_named(self, tmp_path: Path) -> None:
        path = table_file(tmp_path / "new_data.parquet", recaption=["x"] * 100)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(DataError, match=r"cannot read .*new_data.parquet as parquet"):
            read(open_corpus("recap-coco-30k", tmp_path, "train"))

    def test_without_files_the_hub_is_streamed_at_a_pinned_revision(self, tmp_path: Path) -> None:
        corpus = streamed(tmp_path, limit=3)
        ((place, revision),) = corpus.sources().items()
        assert place == "datasets/UCSC-VLAA/Recap-DataComp-1B"
        assert revision.startswith("git:7c157881")
        with pytest.raises(DownloadError, match=r"cannot stream hf://.*offline.*--from"):
            read(corpus)

    def test_the_hub_is_never_streamed_whole(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--limit N"):
            read(streamed(tmp_path, limit=None))


def streamed(raw: Path, limit: int | None) -> PhraseCorpus:
    options = LayoutOptions(limit=limit)
    found: list[Normalizer] = open_splits("recap-datacomp-1b", [], raw, options, downloaded=True)
    assert isinstance(found[0], PhraseCorpus)
    return found[0]


def test_segments_name_objects_and_images_have_captions(tmp_path: Path) -> None:
    table_file(
        tmp_path / "annotations" / "anno_test.parquet",
        imagename=["sa_1.jpg", "sa_2.jpg"],
        caption=["a room", ""],
        segments_info=[
            [{"anno_id": 7, "caption": "a grey cat", "short_caption": "cat"}],
            [{"anno_id": 9, "caption": "a door", "short_caption": None}],
        ],
    )
    uses, dropped = read(open_corpus("sacap", tmp_path, "test"))
    assert uses == [
        PhraseUse("a room", "image", captions=1),
        PhraseUse("a grey cat", "segment", objects=1),
        PhraseUse("cat", "short", objects=1),
        PhraseUse("a door", "segment", objects=1),
    ]
    assert dropped == {"empty_phrases": 1}
