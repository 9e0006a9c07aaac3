"""One function per parser of bytes that others wrote, and seeds to mutate.

A target may refuse its input by a ``SamdistillError``. Any other exception is a finding, and so is
an input that is accepted but not accounted for to its last record.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from downloaders.archives import ZipArchive, open_archive
from downloaders.byte_source import FileBytes
from downloaders.content import wrong_head
from downloaders.ledger import Ledger, LedgerEntry
from downloaders.links import read_links
from downloaders.tar_headers import BLOCK, read_entries
from pipelines.media.images import decode_image
from pipelines.normalize.clip_meta import read_clip_meta
from pipelines.normalize.coco_json import CaptionsFile, InstancesFile, decode_file, join
from pipelines.normalize.indexed_png import read_binary_mask, read_indexed_masks
from pipelines.normalize.sav_json import read_masklets
from schemas.errors import ArchiveError, SamdistillError
from schemas.masks import encode_mask, mask_areas, mask_boxes, mask_from_coco, masks_from_texts

Target = Callable[[bytes], None]

_SIDE = 12


def instances(body: bytes) -> None:
    """Each annotation is in the join, or counted as dropped; each mask is whole."""
    file = decode_file(body, InstancesFile, "fuzz.json")
    joined = join(file, None, "fuzz.json")
    kept = sum(map(len, joined.objects.values()))
    assert kept + sum(joined.dropped.values()) == len(file.annotations)
    for number, records in joined.objects.items():
        image = joined.images[number]
        if image.width * image.height > 1 << 16:
            continue
        for record in records:
            with contextlib.suppress(SamdistillError):
                mask = record.mask(image)
                if mask is not None:
                    assert mask.decode().shape == (image.height, image.width)
            with contextlib.suppress(SamdistillError):
                assert record.box is None or len(record.box) == 4


def captions(body: bytes) -> None:
    """Each caption is in the join, or counted as dropped."""
    file = decode_file(body, CaptionsFile, "fuzz.json")
    joined = join(InstancesFile(images=[]), file, "fuzz.json")
    assert sum(joined.dropped.values()) == len(file.annotations)


def run_lengths(body: bytes) -> None:
    """All three forms of a segmentation; areas and boxes fit the image."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        value = msgspec.json.decode(body)
        mask = mask_from_coco(value, _SIDE, _SIDE, "fuzz")
        assert int(mask.decode().sum()) == mask.area <= _SIDE * _SIDE
        text = mask.counts.decode("ascii")
        (same,) = masks_from_texts([text], _SIDE, _SIDE, ["fuzz"])
        assert mask_areas([same]) == [mask.area]
        assert mask_boxes([same]) == [mask.box]


def masklets(body: bytes) -> None:
    """Each entry of each row is an annotation, or is null."""
    found = read_masklets(body, "fuzz.json", "sav_1", 0)
    _, height, width = found.file.shape
    if height * width > 1 << 16:
        return
    for place, row in enumerate(found.file.masklet):
        annotations = list(found.at(place * 4))
        assert len(annotations) == sum(entry is not None for entry in row)


def clip_meta(body: bytes) -> None:
    """Object ids are numbers, names are text."""
    for names in read_clip_meta(body, "meta.json").values():
        assert all(isinstance(number, int) for number in names)
        assert all(isinstance(text, str) for one in names.values() for text in one.phrases)


def image(body: bytes) -> None:
    """A picture has three channels."""
    pixels_HWC = decode_image(body, "fuzz.jpg")
    assert pixels_HWC.dtype == np.uint8
    assert pixels_HWC.shape[2:] == (3,)


def indexed_png(body: bytes) -> None:
    """Objects and void are disjoint, and of one size."""
    masks = read_indexed_masks(body, "fuzz.png")
    parts = [*masks.objects.values(), *([masks.void] if masks.void else [])]
    assert sum(part.area for part in parts) <= masks.width * masks.height
    assert {(part.height, part.width) for part in parts} <= {(masks.height, masks.width)}
    assert 0 not in masks.objects
    with contextlib.suppress(SamdistillError):
        read_binary_mask(body, "fuzz.png")


def archive(body: bytes) -> None:
    """Members that can be read have the size they state."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.zip"
        path.write_bytes(body)
        with open_archive(path) as opened:
            for member in opened.members():
                _read(opened.read, opened.size(member), member)


def tar(body: bytes) -> None:
    """What ``tarfile`` finds is found, at the same place. Checksums are put right first."""
    body = _with_checksums(body)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.tar"
        path.write_bytes(body)
        found = {(entry.offset, entry.size) for entry in read_entries(FileBytes(path))}
        with open_archive(path) as opened:
            for member in opened.members():
                _read(opened.read, opened.size(member), member)
    for info in _tarfile_members(body):
        assert not info.isreg() or (info.offset_data, info.size) in found, info.name


def gzipped(body: bytes) -> None:
    """A gzip file of which a byte was changed is refused, or holds what it held before."""
    place, change, content = int.from_bytes(body[:2]), body[2:3], body[3:]
    packed = bytearray(gzip.compress(_tar_of(content), mtime=0))
    packed[place % len(packed)] ^= change[0] if change else 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.tar.gz"
        path.write_bytes(packed)
        with open_archive(path) as opened:
            if opened.members() == ("a",):
                assert opened.read("a") == content
            else:  # the byte was one of the magic: no gzip file any more
                raise ArchiveError("not recognised")


def zipped(body: bytes) -> None:
    """Members are those that ``zipfile`` finds, and read as it reads them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.zip"
        path.write_bytes(body)
        with ZipArchive(path) as opened:
            with zipfile.ZipFile(io.BytesIO(body)) as reference:
                names = [info.filename for info in reference.infolist() if not info.is_dir()]
            assert sorted(names) == list(opened.members())
            for member in opened.members():
                _read(opened.read, opened.size(member), member)


def links(body: bytes) -> None:
    """Each line with text is a row, a header, or refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "links.tsv"
        path.write_bytes(body)
        found = read_links(path)
        assert all(url.startswith(("http://", "https://")) for url in found.values())
        named = {line.split("\t")[0].strip() for line in path.read_text("utf-8-sig").splitlines()}
        assert named - {"", "file_name"} <= found.keys()


def ledger(body: bytes) -> None:
    """Each finished line is an entry."""
    with tempfile.TemporaryDirectory() as folder:
        book = Ledger(Path(folder))
        book.path.write_bytes(body)
        assert len(book.entries()) == body.count(b"\n")


def first_bytes(body: bytes) -> None:
    """The beginning of a download is judged without an error of any kind."""
    for kind in ("zip", "gzip", "tar", "json", "parquet", "text", "part"):
        assert isinstance(wrong_head(body, kind), str | None)


def _read(read: Callable[[str], bytes], size: int, member: str) -> None:
    with contextlib.suppress(ArchiveError):
        assert len(read(member)) == size


def _tarfile_members(body: bytes) -> list[tarfile.TarInfo]:
    # tarfile itself fails on some of what it should refuse.
    with contextlib.suppress(Exception), tarfile.open(fileobj=io.BytesIO(body), mode="r:") as found:
        return found.getmembers()
    return []


def _with_checksums(body: bytes) -> bytes:
    """Return the tar file with right checksums: no fuzzer finds them in time."""
    blocks = [body[start : start + BLOCK] for start in range(0, len(body), BLOCK)]
    for number, block in enumerate(blocks):
        if len(block) == BLOCK and block[257:262] == b"ustar":
            total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
            blocks[number] = block[:148] + b"%06o\0 " % total + block[156:]
    return b"".join(blocks)


def _tar_of(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as made:
        info = tarfile.TarInfo("a")
        info.size = len(content)
        made.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _tars() -> list[bytes]:
    found = []
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as made:
            for name in ("./top/a.jpg", f"top/{'long' * 40}", "top/ü"):
                info = tarfile.TarInfo(name)
                info.size = len(name)
                made.addfile(info, io.BytesIO(b"x" * len(name)))
        # Without the blocks that fill up the last record.
        found.append(stream.getvalue().rstrip(b"\0").ljust(9 * BLOCK, b"\0") + bytes(2 * BLOCK))
    return found


def _zips() -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as made:
            made.mkdir("top")
            made.writestr("top/a.json", b'{"a": 1}' * 9)
            made.writestr("top/inner.zip", b"PK\x05\x06" + bytes(18))
        found.append(stream.getvalue())
    return found


def _images(*modes: str, form: str = "PNG") -> list[bytes]:
    found = []
    for mode in modes:
        stream = io.BytesIO()
        grey_HW = np.arange(_SIDE * _SIDE, dtype=np.uint8).reshape(_SIDE, _SIDE) % 5
        Image.fromarray(grey_HW).convert(mode).save(stream, form)
        found.append(stream.getvalue())
    return found


def _instances_seed() -> dict[str, object]:
    counts = encode_mask(np.eye(_SIDE)).counts.decode()
    shapes: list[object] = [
        [[1, 1, 9.5, 1, 5, 8]],
        {"size": [_SIDE, _SIDE], "counts": [0, _SIDE, _SIDE * (_SIDE - 1)]},
        {"size": [_SIDE, _SIDE], "counts": counts},
    ]
    return {
        "images": [{"id": 1, "width": _SIDE, "height": _SIDE, "file_name": "1.jpg"}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3.5, 4],
             "area": 9.0, "iscrowd": number % 2, "segmentation": shape}
            for number, shape in enumerate(shapes)
        ],
    }  # fmt: skip


def _masklets_seed() -> dict[str, object]:
    rle = {"size": [_SIDE, _SIDE], "counts": encode_mask(np.eye(_SIDE)).counts.decode()}
    return {
        "video_id": "sav_1", "video_duration": 0.2, "video_frame_count": 5.0,
        "video_height": float(_SIDE), "video_width": float(_SIDE), "video_resolution": 144.0,
        "video_environment": "Indoor", "video_split": "train",
        "masklet": [[rle, None], [rle, rle]], "masklet_id": [0, 1], "masklet_num": 2,
        "masklet_frame_count": [2, 2], "masklet_stability_score": [None, None],
        "masklet_first_appeared_frame": [0.0, 1.0], "masklet_type": ["manual", "manual"],
        "masklet_edited_frame_count": [0, 0], "masklet_visibility_changes": [0, 0],
        "masklet_size_rel": [1.0, 1.0], "masklet_size_abs": [1.0, 1.0],
        "masklet_size_bucket": ["small", "small"],
    }  # fmt: skip


def _json(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


_LEDGER_SEED = msgspec.json.encode(
    LedgerEntry(
        name="a.zip", kind="file", url="https://x.test/a.zip", bytes=1, sha256="0" * 64,
        checksum=None, verified=False, when="2026-01-01T00:00:00+00:00", licence="CC",
        licence_accepted=True,
    )
)  # fmt: skip

TARGETS: dict[str, tuple[Target, list[bytes]]] = {
    "instances": (instances, _json(_instances_seed())),
    "captions": (captions, _json({"annotations": [{"id": 1, "image_id": 1, "caption": "a\n b"}]})),
    "run_lengths": (run_lengths, _json(*[
        record["segmentation"] for record in _instances_seed()["annotations"]  # type: ignore[attr-defined]
    ])),
    "masklets": (masklets, _json(_masklets_seed())),
    "clip_meta": (clip_meta, _json(
        {"videos": {"a": {"objects": {"1": {"category": "giant_panda", "frames": ["0"]}}}}}
    )),
    "image": (image, [
        *_images("RGB", "L", "CMYK", form="JPEG"), *_images("RGB", "P", "LA"),
        *_images("RGB", form="WEBP"),
    ]),
    "indexed_png": (indexed_png, _images("P", "L")),
    "archive": (archive, [*_tars(), *_zips(), gzip.compress(_tars()[0], mtime=0)]),
    "tar": (tar, _tars()),
    "gzipped": (gzipped, [bytes(3) + b"content" * 9, b"\0\x40\1" + b"content" * 9]),
    "zipped": (zipped, _zips()),
    "links": (links, [b"file_name\tcdn_link\nsa_000000.tar\thttps://x.test/sa_0.tar?oe=693A5165"]),
    "ledger": (ledger, [_LEDGER_SEED + b"\n" + _LEDGER_SEED + b"\n"]),
    "first_bytes": (first_bytes, [b"<!doctype html><title>Quota</title>", *_tars()[:1]]),
}  # fmt: skip
"""Name, function and inputs that it accepts."""


def check(target: Target, body: bytes) -> None:
    """Run a target, which may refuse its input."""
    with contextlib.suppress(SamdistillError):
        target(body)
