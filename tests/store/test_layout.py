from __future__ import annotations

from pipelines.store import layout


def test_paths_are_part_of_the_format() -> None:
    folder = layout.array_folder("coco", "val2017", "0123456789abcdef", "image.trunk")
    assert folder == "features/coco/val2017/0123456789abcdef/image.trunk"
    assert layout.array_shard_key(folder, 12, 4) == f"{folder}/c/12/0/0/0"
    assert layout.array_shard_key(folder, 12, 1) == f"{folder}/c/12"
    assert layout.rows_key(folder, 12) == f"{folder}/rows-00012.parquet"
    assert layout.commit_key(folder, 12) == f"{folder}/commits/00012.json"
    assert layout.media_key("coco", "val2017", 123456).endswith("/media-123456.tar")
    assert layout.manifest_key("demo", 3) == "manifests/demo/0003.json"
