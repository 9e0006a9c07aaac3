"""Shared by the benchmarks: interleaved rounds, medians, a table, and the machine's description."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime


def interleave(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each once per round, in turn, so that a machine that slows down slows all of them."""
    results: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


def medians(results: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(values) for name, values in results.items()}


def machine() -> str:
    """One line: date, processor, cores, memory, Python."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if "model name" in line), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    day = datetime.now(UTC).date().isoformat()
    python = platform.python_version()
    return f"{day} · {model} · {os.cpu_count()} cores · {memory:.0f} GiB · Python {python}"


def print_table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A Markdown table, so that a report is the output as it is."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for number, line in enumerate(lines):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def print_ratios(ratios: Mapping[str, float]) -> None:
    """The last line of every benchmark: one JSON object."""
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))
