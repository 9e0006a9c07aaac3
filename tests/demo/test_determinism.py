from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

BUILD = """
import sys
from pathlib import Path
from pipelines.demo.origin import write_origin
write_origin(Path(sys.argv[1]))
"""


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_another_process_builds_the_same_bytes(origin: Path, tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], check=True, cwd=project)
    assert digests(tmp_path) == digests(origin)
    assert len(digests(origin)) > 30
