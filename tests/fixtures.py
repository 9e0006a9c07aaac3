"""Where real samples of the data sets lie, which are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE = Path(__file__).parents[1].parent / "shared" / "fixtures"

FIXTURES = Path(os.environ.get("SAMDISTILL_FIXTURES", _BESIDE))
"""The environment variable ``SAMDISTILL_FIXTURES``, else a folder beside the project."""
