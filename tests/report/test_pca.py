from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.report.pca import fit_basis

Float32 = npt.NDArray[np.float32]


def planted(seed: int = 0, maps: int = 3) -> tuple[list[Float32], npt.NDArray[np.float64]]:
    """Return maps whose tokens vary in three known directions by 9, 4 and 1, and hardly else."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(generator.normal(size=(12, 3)))[0]
    tokens = generator.normal(size=(maps, 64, 3)) * [9, 4, 1] @ directions.T
    tokens += generator.normal(size=tokens.shape) * 0.01 + 5
    return [item.T.reshape(12, 8, 8).astype(np.float32) for item in tokens], directions


def test_finds_the_directions_of_largest_variance() -> None:
    maps, directions = planted()
    basis = fit_basis(lambda: maps)
    assert basis is not None
    alike = np.abs(directions.T @ basis.directions_C3)
    assert np.allclose(alike, np.eye(3), atol=0.1)
    assert basis.explained > 0.999


def test_signs_are_those_of_the_largest_entries() -> None:
    basis = fit_basis(lambda: planted()[0])
    assert basis is not None
    largest = np.abs(basis.directions_C3).argmax(axis=0)
    assert (basis.directions_C3[largest, [0, 1, 2]] > 0).all()


def test_equal_tokens_have_equal_colours_in_all_maps() -> None:
    maps, _ = planted()
    maps[1][:, 3, 4] = maps[0][:, 0, 0]
    basis = fit_basis(lambda: maps)
    assert basis is not None
    first, second = (basis.colours(item) for item in maps[:2])
    assert first.shape == (8, 8, 3)
    assert second[3, 4].tolist() == first[0, 0].tolist()


def test_the_first_component_is_lightness() -> None:
    maps, _ = planted()
    basis = fit_basis(lambda: maps)
    assert basis is not None
    pixels = basis.colours(maps[0]).reshape(-1, 3).astype(np.float64)
    projected = (maps[0].reshape(12, -1).T - basis.mean_C) @ basis.directions_C3[:, 0]
    luminance = pixels @ [0.2126, 0.7152, 0.0722]
    assert np.corrcoef(projected, luminance)[0, 1] > 0.9


def test_one_outlying_token_does_not_darken_the_rest() -> None:
    maps, _ = planted()
    basis = fit_basis(lambda: maps)
    assert basis is not None
    spoiled = [item.copy() for item in maps]
    spoiled[0][:, 0, 0] *= 20
    other = fit_basis(lambda: spoiled)
    assert other is not None
    spread = other.colours(spoiled[1]).astype(np.float64).std()
    assert spread > 0.3 * basis.colours(maps[1]).astype(np.float64).std()


def test_no_map_has_no_basis() -> None:
    assert fit_basis(list) is None


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_maps_have_one_colour(value: float) -> None:
    maps = [np.full((12, 4, 4), value, dtype=np.float32)]
    basis = fit_basis(lambda: maps)
    assert basis is not None
    assert len(np.unique(basis.colours(maps[0]).reshape(-1, 3), axis=0)) == 1
