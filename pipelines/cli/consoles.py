"""The terminal, for commands that print keys and paths."""

from __future__ import annotations

from rich.console import Console


def open_console(*, stderr: bool = False, wraps: bool = False) -> Console:
    """Return a console that leaves keys and paths as they are; long lines too, unless it wraps."""
    return Console(highlight=False, markup=False, soft_wrap=not wraps, stderr=stderr)
