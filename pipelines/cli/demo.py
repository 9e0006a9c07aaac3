"""`samdistill demo`: the whole main job once, by the ordinary commands, on real photographs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import Root

if TYPE_CHECKING:
    from pipelines.demo.summary import DemoSummary

_MANIFEST = "demo"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    root: Root = "demo-root",
    steps: Annotated[int, typer.Option("--steps", min=2, help="Training steps.")] = 60,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Ray actors.")] = 2,
) -> None:
    """Run the whole pipeline once: COCO and DAVIS layouts, a tiny teacher, one student.

    Photographs from two Python wheels become archives in the official layouts; a local server
    offers them; everything after that is the commands you would give for the real data sets.
    """
    from pipelines.demo.photographs import require_photographs

    require_photographs()
    from pipelines.demo.coco_archives import write_coco_archives
    from pipelines.demo.davis_archives import write_davis_archives
    from pipelines.demo.server import serve_folder
    from pipelines.demo.summary import summarize

    started = time.monotonic()
    folder = Path(root)
    origin, run = folder / "origin", folder / "student"
    typer.secho("Making the archives: photographs of scikit-image and scikit-learn", bold=True)
    write_coco_archives(origin / "coco")
    write_davis_archives(origin / "davis")
    with serve_folder(origin) as url:
        for command in _commands(root, url, run, steps, workers):
            _run(command)
    summary = summarize(folder, _MANIFEST, run, time.monotonic() - started)
    _print_summary(summary, root)


def _commands(root: str, url: str, run: Path, steps: int, workers: int) -> Iterator[list[str]]:
    at = ["--root", root]
    sets = (("coco", "val2017", "8"), ("davis", "val", "24"))
    for name, split, _ in sets:
        source = ["--from", f"{url}/{name}", "--any-content"]
        yield ["download", name, "--split", split, *source, *at]
    for name, split, rows in sets:
        yield ["normalize", name, "--split", split, "--rows-per-shard", rows, *at]
    for name, split, _ in sets:
        executor = ["--executor", "ray", "--workers", str(workers)]
        yield ["cache", name, "--split", split, "--teacher", "tiny", *executor, *at]
    yield ["publish", _MANIFEST, *at]
    yield ["verify", _MANIFEST, "--deep", "--recompute", "8", "--teacher", "tiny", *at]
    student = ["--student", "repvit_m0_9", "--teacher", "tiny", "--steps", str(steps)]
    yield ["train", _MANIFEST, *student, "--batch", "8", "--out", str(run), *at]
    yield ["inspect", _MANIFEST, "--out", f"{root}/demo.html", *at]


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
