from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tiny teacher out of the user's cache folder, also for processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMDISTILL_CACHE", str(tmp_path_factory.mktemp("teachers")))
        yield
