"""Downloading from a fast server on the loopback, beside aria2, wget and curl.

``python benchmarks/bench_download.py [--folder DIR] [--latency MS] [--rounds N] [--scale F]``

Each table comes twice: from a server that answers at once, where only processors and disk count,
and from one whose answers wait ``--latency`` milliseconds, as a far server's do.
Ours hashes every byte, waits until each file is durable and records it in the ledger; the others do
none of these. ``aria2c, synced`` waits for the disk as ours does; all begin with nothing left to
write back, so that none pays for another. ``bare loop`` is a limit: one connection, read, sha256,
write, in one Python thread, without sync, ledger or checks.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from measure import interleave, machine, medians, print_ratios, print_table

from downloaders.base import DatasetEntry, RemoteFile, SplitFacts
from downloaders.fetch import ResumingFetcher
from downloaders.file_list import FileListDownloader
from pipelines.jobs.download import DownloadJob

_LARGE_BYTES = 2_000_000_000
_SMALL_FILES, _SMALL_BYTES = 2000, 200_000
_LARGE, _SMALL = "large.bin", "small"
_FAR_SHARE = 4


def main() -> None:
    options = _options()
    ratios: dict[str, float] = {}
    print(f"{machine()} · {options.rounds} rounds, medians")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        small = _make_files(folder / "server", options.scale)
        size = int(_LARGE_BYTES * options.scale)
        for latency in dict.fromkeys((0.0, options.latency)):
            # One request at a time takes the latency each time: fewer files tell as much.
            names = small[:: _FAR_SHARE if latency else 1]
            with _serving(folder / "server", latency) as base:
                large = medians(interleave(_large_runs(base, folder), options.rounds))
                many = medians(interleave(_small_runs(base, folder, names), options.rounds))
            where = f", answers after {latency:g} ms" if latency else ""
            _print_runs(f"one file of {size / 1e9:g} GB{where}", large, size / 1e6, "MB/s")
            _print_runs(f"{len(names)} files of 200 kB{where}", many, len(names), "files/s")
            suffix = f"_{latency:g}ms" if latency else ""
            ratios |= {f"{name}{suffix}": ratio for name, ratio in _ratios(large, many).items()}
    print_ratios(ratios)


def _print_runs(title: str, runs: dict[str, float], count: float, unit: str) -> None:
    print()
    rows = [[tool, f"{took:.2f}", f"{count / took:.0f}"] for tool, took in runs.items()]
    print_table([title, "seconds", unit], rows)


def _ratios(large: dict[str, float], many: dict[str, float]) -> dict[str, float]:
    return {
        "large_vs_aria2": large["aria2c -x8"] / large["samdistill"],
        "large_vs_aria2_synced": large["aria2c -x8, synced"] / large["samdistill"],
        "large_vs_wget": large["wget -c"] / large["samdistill"],
        "large_vs_bare": large["bare loop"] / large["samdistill"],
        "small_vs_aria2": many["aria2c -x8 -j16"] / many["samdistill"],
        "small_vs_wget": many["wget -c"] / many["samdistill"],
        "small_vs_bare": many["bare loop"] / many["samdistill"],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--latency", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    return parser.parse_args()


def _make_files(folder: Path, scale: float) -> list[str]:
    (folder / _SMALL).mkdir(parents=True)
    block = os.urandom(1 << 20)
    with (folder / _LARGE).open("wb") as file:
        for _ in range(int(_LARGE_BYTES * scale) >> 20):
            file.write(block)
        file.write(block[: int(_LARGE_BYTES * scale) % (1 << 20)])
    names = [f"{_SMALL}/{number:05}.bin" for number in range(int(_SMALL_FILES * scale))]
    for name in names:
        (folder / name).write_bytes(block[:_SMALL_BYTES])
    return names


@contextlib.contextmanager
def _serving(folder: Path, latency: float) -> Iterator[str]:
    program = str(Path(__file__).with_name("file_server.py"))
    command = [sys.executable, program, str(folder), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("the server has no output")
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def _large_runs(base: str, folder: Path) -> dict[str, Callable[[], float]]:
    url = f"{base}/{_LARGE}"
    aria = ["aria2c", "-q", "-x8", "-s8", "-k1M", "--file-allocation=none", url]
    commands = {
        "aria2c -x8": aria,
        "wget -c": ["wget", "-q", "-c", url],
        "curl": ["curl", "-sO", url],
    }
    synced = {"aria2c -x8, synced": partial(_tool, aria, folder / "out", sync=True)}
    return _own(base, folder, [_LARGE]) | _tools(commands, folder) | synced


def _small_runs(base: str, folder: Path, names: list[str]) -> dict[str, Callable[[], float]]:
    listed, config = folder / "urls.txt", folder / "curl.txt"
    listed.write_text("".join(f"{base}/{name}\n" for name in names))
    config.write_text("".join(f'url = "{base}/{name}"\nremote-name\n' for name in names))
    commands = {
        "aria2c -x8 -j16": [
            "aria2c", "-q", "-x8", "-j16", "--file-allocation=none", "-i", str(listed),
        ],
        "wget -c": ["wget", "-q", "-c", "-i", str(listed)],
        "curl": ["curl", "-s", "-K", str(config)],
    }  # fmt: skip
    return _own(base, folder, names) | _tools(commands, folder)


def _own(base: str, folder: Path, names: list[str]) -> dict[str, Callable[[], float]]:
    return {
        "samdistill": partial(_ours, base, folder, names),
        "bare loop": partial(_bare, base, folder / "out", names),
    }


def _bare(base: str, out: Path, names: list[str]) -> float:
    out.mkdir()
    buffer = memoryview(bytearray(1 << 18))
    os.sync()
    began = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection(base.removeprefix("http://"))) as server:
        for name in names:
            server.request("GET", f"/{name}")
            answer, digest = server.getresponse(), hashlib.sha256()
            with (out / Path(name).name).open("wb", buffering=0) as file:
                while count := answer.readinto(buffer):
                    digest.update(buffer[:count])
                    file.write(buffer[:count])
    took = time.perf_counter() - began
    shutil.rmtree(out)
    return took


def _tools(commands: dict[str, list[str]], folder: Path) -> dict[str, Callable[[], float]]:
    return {name: partial(_tool, command, folder / "out") for name, command in commands.items()}


def _tool(command: list[str], out: Path, *, sync: bool = False) -> float:
    out.mkdir()
    os.sync()
    began = time.perf_counter()
    subprocess.run(command, cwd=out, check=True, env={**os.environ, "no_proxy": "*"})
    for path in out.iterdir() if sync else ():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    took = time.perf_counter() - began
    shutil.rmtree(out)
    return took


def _ours(base: str, folder: Path, names: list[str]) -> float:
    files = tuple(
        RemoteFile(
            name=name.rpartition("/")[2],
            path=name,
            urls=(f"{base}/{name}",),
            kind="part",
            splits=("all",),
            bytes=(folder / "server" / name).stat().st_size,
        )
        for name in names
    )
    entry = DatasetEntry(
        name="bench", title="bench", about="", media="image", licence="", homepage="", cite="",
        splits=(SplitFacts(name="all"),), to_do="",
    )  # fmt: skip
    os.sync()
    began = time.perf_counter()
    with ResumingFetcher(connections=4) as fetcher:
        job = DownloadJob(FileListDownloader(entry=entry, files=files), folder / "out", fetcher)
        failed = job.run(job.plan([]), lambda _file, _done: None).failed
    took = time.perf_counter() - began
    if failed:
        raise RuntimeError(failed[0].detail)
    shutil.rmtree(folder / "out")
    return took


if __name__ == "__main__":
    main()
