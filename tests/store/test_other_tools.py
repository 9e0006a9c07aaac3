"""Each codec as another tool reads it: by the reader that docs/codecs.md prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr

from schemas.codec import CODECS
from tests.schemas.codec_values import golden_values
from tests.store.arrays import make_array, write_rows

_PAGE = Path(__file__).parents[2] / "docs/codecs.md"
Reader = Callable[[Any, int], npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def read_row() -> Reader:
    code = _PAGE.read_text().split("```python\n")[1].split("\narray = zarr")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert {name for name in names if not name.startswith("_")} == {"np", "zarr", "read_row"}
    reader: Reader = names["read_row"]
    return reader


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("shape", [(9, 6, 5), (30, 9), (270,), ()])
def test_the_reader_of_the_docs_reads_every_codec(
    tmp_path: Path, read_row: Reader, codec: str, shape: tuple[int, ...]
) -> None:
    values = golden_values(codec).reshape(-1)[: int(np.prod(shape))].reshape(shape)
    array = make_array(tmp_path, shape, codec)
    write_rows(array, 0, {2: values})
    found = read_row(zarr.open_array(tmp_path / array.folder, mode="r"), 2)
    expected = array.read([2])[0]
    assert found.dtype == np.float32
    assert found.shape == shape
    # Rows of golden values differ by 10 orders of magnitude: compare each group with its own size.
    groups, wanted = (
        rows.reshape(max(1, len(shape) and shape[0]), -1) for rows in (found, expected)
    )
    size = np.abs(wanted).max() if codec == "pca64" else np.abs(wanted).max(axis=1, keepdims=True)
    assert (np.abs(groups - wanted) <= 1e-6 * size).all()


@pytest.mark.parametrize("page", ["codecs.md", "format.md"])
def test_the_docs_know_every_codec(page: str) -> None:
    text = (_PAGE.parent / page).read_text()
    assert [name for name in CODECS if f"`{name}`" not in text] == []
