"""Makes the golden root of the format that today's code writes: ``python -m tests.golden.make``.

What is there is never replaced: it is what somebody has on a disk.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pyarrow

from pipelines.store.local import LocalObjectStore
from tests.golden.archive import FOLDER, Made, format_versions, goldens, write_golden
from tests.golden.canonical import read_files
from tests.golden.content import describe
from tests.golden.root import NAME, build_root


def main() -> int:
    """Write the next archive, unless one of these versions is there."""
    versions = format_versions()
    for golden in goldens():
        if golden.made.versions == versions:
            sys.stdout.write(
                f"{golden} has the versions {versions} already; golden roots are not replaced\n"
            )
            return 1
    path = FOLDER / f"root-{len(goldens()) + 1}.tar.xz"
    with tempfile.TemporaryDirectory() as folder:
        store = LocalObjectStore(folder)
        build_root(store)
        made = Made(versions=versions, pyarrow=pyarrow.__version__)
        write_golden(path, made, describe(store, NAME), read_files(Path(folder)))
    sys.stdout.write(f"wrote {path.name}, {path.stat().st_size} bytes: {versions}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
