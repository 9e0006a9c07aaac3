"""Coverage-guided fuzzing of one target; see docs/fuzzing.md.

``python -m tests.fuzz.run_atheris NAME [libFuzzer options]``, after ``pip install atheris``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["downloaders", "pipelines", "schemas", "zipfile"]):
    from tests.fuzz.targets import TARGETS, check


def main() -> None:
    name, *options = sys.argv[1:]
    target, seeds = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *options], lambda body: check(target, bytes(body)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
