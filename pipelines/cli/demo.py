"""`samdistill demo`: the whole main job once, by the ordinary commands, on real photographs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import Root
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipelines.demo.summary import DemoSummary

_MANIFEST = "demo"
_SPLITS = {
    "coco": "val2017",
    "lvis": "val",
    "sa-1b": "train",
    "davis": "val",
    "sa-v": "train",
    "lvos-v2": "train",
    "mose-v2": "train",
    "youtube-vos-2019": "train",
}
# Starting actors takes longer than the work that these small sets are; two show how it is done.
_ON_RAY = {"coco", "davis"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    root: Root = "demo-root",
    steps: Annotated[int, typer.Option("--steps", min=2, help="Training steps.")] = 60,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Ray actors.")] = 2,
) -> None:
    """Run the whole pipeline once: all eight data sets, a tiny teacher, one student.

    Photographs from two Python wheels become archives in the official layouts; a local server
    offers them; everything after that is the commands you would give for the real data sets.
    """
    from pipelines.demo.photographs import require_photographs

    require_photographs()
    from pipelines.demo.origin import write_link_lists, write_origin
    from pipelines.demo.server import serve_folder
    from pipelines.demo.summary import summarize

    if "://" in root:
        raise UsageError(f"--root {root}", expected="a local folder for the demo")
    started = time.monotonic()
    folder = Path(root)
    origin, run = folder / "origin", folder / "student"
    typer.secho("Making the archives: photographs of scikit-image and scikit-learn", bold=True)
    write_origin(origin)
    with serve_folder(origin) as url:
        links = write_link_lists(origin, url)
        for command in _commands(url, links, run, steps, workers):
            _run([*command, "--root", root])
    summary = summarize(folder, _MANIFEST, run, time.monotonic() - started)
    _print_summary(summary, root)


def _commands(
    url: str, links: Mapping[str, Path], run: Path, steps: int, workers: int
) -> Iterator[list[str]]:
    for name, split in _SPLITS.items():
        source = ["--from", f"{url}/{name}"]
        if name in links:
            source = ["--links", str(links[name]), "--accept-licence"]
        yield ["download", name, "--split", split, *source, "--any-content"]
    for name, split in _SPLITS.items():
        yield ["normalize", name, "--split", split, "--rows-per-shard", "16", "--any-count"]
    for name, split in _SPLITS.items():
        executor = ["--executor", "local"]
        if name in _ON_RAY:
            executor = ["--executor", "ray", "--workers", str(workers)]
        yield ["cache", name, "--split", split, "--teacher", "tiny", *executor]
    yield ["publish", _MANIFEST]
    yield ["verify", _MANIFEST, "--deep", "--recompute", "8", "--teacher", "tiny"]
    student = ["--student", "repvit_m0_9", "--teacher", "tiny", "--steps", str(steps)]
    yield ["train", _MANIFEST, *student, "--batch", "8", "--out", str(run)]
    yield ["inspect", _MANIFEST, "--out", str(run.parent / "demo.html")]


def _run(command: list[str]) -> None:
    """Run a command of this very program in this process, as if it had been typed."""
    from pipelines.cli.main import build_app

    typer.echo()
    typer.secho(f"$ samdistill {shlex.join(command)}", bold=True)
    try:
        build_app()(command)
    except SystemExit as stop:
        if stop.code:
            raise


def _print_summary(summary: DemoSummary, root: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="The demo", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for label, value in _lines(summary):
        table.add_row(label, value)
    console = Console()
    console.print()
    console.print(table)
    console.print(f"Look at it: {root}/demo.html", soft_wrap=True)


def _lines(summary: DemoSummary) -> Iterator[tuple[str, str]]:
    from rich.filesize import decimal

    for name, data in summary.datasets.items():
        counts = {what.replace("_", " "): count for what, count in sorted(data.counts.items())}
        yield name, ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    for name, feature in summary.features.items():
        yield name, f"{feature.rows} rows, {decimal(feature.bytes)}"
    yield "student's loss", f"{summary.loss_first:.3f} -> {summary.loss_last:.3f}"
    yield "time", f"{summary.seconds:.0f} s"
    yield "peak memory", f"{decimal(summary.peak_memory_bytes)} in one process"
