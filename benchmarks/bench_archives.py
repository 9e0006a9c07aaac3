"""Reading the members of archives in place, beside unpacking them: in archive order and at random.

The content is noise in members of 128 KiB, as poor to compress as photographs are. The limit for a
tar.gz is ``gzip -dc`` to nowhere, which writes nothing and gives no member by name.

Run it by ``make bench NAME=archives``.
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import subprocess
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from measure import interleave, machine, medians, print_ratios, print_table

from downloaders.archives import open_archive

MEMBER_BYTES = 128 << 10
AT_RANDOM = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        names = make_archives(Path(folder), options.mib << 20)
        measure(Path(folder), names, options.mib << 20, options.rounds)


def make_archives(folder: Path, total: int) -> list[str]:
    noise = random.Random(1)
    names = [f"clip-{n // 50:04}/{n % 50:05}.jpg" for n in range(total // MEMBER_BYTES)]
    with (
        tarfile.open(folder / "a.tar", "w") as tar,
        zipfile.ZipFile(folder / "a.zip", "w") as archive,
    ):
        for name in names:
            body = noise.randbytes(MEMBER_BYTES)
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
            archive.writestr(name, body)
    with (folder / "a.tar.gz").open("wb") as file:
        subprocess.run(["gzip", "-6c", str(folder / "a.tar")], stdout=file, check=True)
    return names


def measure(folder: Path, names: list[str], total: int, rounds: int) -> None:
    some = random.Random(2).sample(names, min(AT_RANDOM, len(names)))
    packed = folder / "a.tar.gz"
    runs: dict[str, Callable[[], float]] = {
        "gzip -dc": lambda: rate(total, lambda: run("gzip", "-dc", packed)),
        "tar -xzf": lambda: rate(total, lambda: unpack(packed, folder / "unpacked")),
        "tar.gz: first opening": lambda: rate(total, lambda: first_opening(packed)),
    }
    for name in ("a.tar.gz", "a.tar", "a.zip"):
        path, kind = folder / name, name.removeprefix("a.")
        open_archive(path).close()
        runs[f"{kind}: in order"] = lambda path=path: rate(total, lambda: read(path, names))
        few = len(some) * MEMBER_BYTES
        runs[f"{kind}: at random"] = lambda path=path, few=few: rate(few, lambda: read(path, some))
    found = medians(interleave(runs, rounds))
    print(f"{machine()}\n")
    print_table(["what", "MB/s"], [(name, f"{value:.0f}") for name, value in found.items()])
    print_ratios({"in order / gzip -dc": found["tar.gz: in order"] / found["gzip -dc"]})


def rate(count: int, work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return count / 1e6 / (time.perf_counter() - start)


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, check=True)


def unpack(packed: Path, target: Path) -> None:
    target.mkdir()
    run("tar", "-xzf", packed, "-C", target)
    shutil.rmtree(target)


def first_opening(path: Path) -> None:
    for index in path.parent.glob(f"{path.name}.*"):
        index.unlink()
    open_archive(path).close()


def read(path: Path, names: Iterable[str]) -> None:
    with open_archive(path) as archive:
        for name in names:
            archive.read(name)


if __name__ == "__main__":
    main()
