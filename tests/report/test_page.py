from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.jobs.publish import publish, select
from pipelines.report.page import render_page, write_page
from pipelines.store.local import LocalObjectStore
from pipelines.store.published import PublishedManifest
from schemas.samples import Annotation, Sample, Source
from tests.jobs.sample_root import normalize, stills

VOID = {"meta", "img", "input", "rect"}


class Tree(HTMLParser):
    """Checks that elements nest, and collects what the page points to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset", "data", "action"}:
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parse(page: str) -> Tree:
    tree = Tree()
    tree.feed(page)
    tree.close()
    return tree


@pytest.fixture(scope="module")
def page(store: LocalObjectStore, published: PublishedManifest) -> str:
    return render_page(store, published, samples=4)


def test_elements_nest_and_ids_are_unique(page: str) -> None:
    tree = parse(page)
    assert tree.open == []
    assert len(tree.ids) == len(set(tree.ids))


def test_nothing_is_fetched(page: str) -> None:
    tree = parse(page)
    assert "script" not in tree.tags
    assert "link" not in tree.tags
    assert all(link.startswith(("data:image/", "#")) for link in tree.links)
    assert {link[1:] for link in tree.links if link[0] == "#"} <= set(tree.ids)
    urls = re.findall(r"url\(([^)]{0,11})", page)
    assert set(urls) == {"data:image/"}
    assert "default-src 'none'" in page


def test_says_what_the_manifest_is(page: str, published: PublishedManifest) -> None:
    assert published.digest in page
    assert "version 1" in page
    (teacher,) = published.manifest.teachers
    for fact in (
        teacher,
        "ColourTeacher",
        "12 tokens",
        "album",
        "camera",
        "24\xa0\xd7\xa036\xa0\xd7\xa036",
    ):
        assert fact in page
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)


def test_shows_samples_phrases_and_quarantine(page: str) -> None:
    for word in ("A tabby cat looks at something", "tabby cat", "undecodable", "<li>coins</li>"):
        assert word in page
    assert page.count('class="card"') == 3
    assert page.count('class="tokens" alt="trunk') == 3
    assert page.count("1 row left out") == 1


def test_shows_clips_with_annotation_memory_and_trunk(page: str) -> None:
    assert page.count('class="film"') == 1
    for name in ("annotation", "memory", "trunk"):
        assert page.count(f'aria-label="{name}"') == 4
    assert page.count("--photo:url(") == 4
    assert re.search(r"memory against annotation: IoU 0\.\d\d", page)


def test_shows_how_alike_phrases_are(page: str) -> None:
    assert "Cosine of the mean token of" in page
    assert re.search(r"<title>tabby cat / tabby cat: 1\.00</title>", page)


def test_equal_manifests_give_equal_pages(
    page: str, store: LocalObjectStore, published: PublishedManifest
) -> None:
    assert render_page(store, published, samples=4) == page


def test_a_manifest_without_features_has_a_page(store: LocalObjectStore) -> None:
    plain = publish(store, "plain", select(store, ["album"], features=["memory.maskmem"]))
    page = render_page(store, plain, samples=2)
    assert parse(page).open == []
    assert page.count('class="card"') == 2
    assert "Phrases" not in page
    assert "Teacher" not in page


def test_names_from_data_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = '<script>"&amp;$name'
    sound = stills()[0]
    sample = Sample(
        key="evil",
        source=Source(archive="a", member="b"),
        width=sound.width,
        height=sound.height,
        encoded=sound.encoded,
        annotations=(
            Annotation(object_id=1, mask=sound.annotations[0].mask, phrases=(evil,)),
            Annotation(object_id=2, mask=None, box=(1, 2, 30, 40), category=evil),
        ),
        captions=(evil,),
    )
    store = LocalObjectStore(tmp_path / "root")
    normalize(store, ("evil", "val"), [[sample]])
    page = render_page(store, publish(store, "evil", select(store, [])))
    assert "<script>" not in page
    assert page.count("&lt;script&gt;&quot;&amp;amp;$name") >= 2
    assert '<rect x="1" y="2" width="29" height="38"' in page


def test_an_empty_split_of_sound_samples_has_a_page(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path / "root")
    coins = next(sample for sample in stills() if sample.quarantine)
    normalize(store, ("bad", "val"), [[coins]])
    page = render_page(store, publish(store, "bad", select(store, [])))
    assert parse(page).open == []
    assert 'class="card"' not in page


def test_writing_replaces_an_older_page(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_page(path, "old")
    write_page(path, "näw")
    assert path.read_text(encoding="utf-8") == "näw"
    assert [item.name for item in path.parent.iterdir()] == ["page.html"]
