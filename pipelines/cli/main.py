"""The `samdistill` command: its groups, and how errors become one line and an exit code."""

from __future__ import annotations

import importlib
import inspect
import os
import sys

import typer

from schemas.errors import SamdistillError

_GROUPS = (
    "download",
    "normalize",
    "phrases",
    "plan",
    "cache",
    "status",
    "publish",
    "verify",
    "inspect",
    "export",
    "import_dump",
    "gc",
    "train",
    "doctor",
    "demo",
)

INTERRUPTED = 130


def build_app() -> typer.Typer:
    """Return the application with all commands, in the order in which a user needs them."""
    app = typer.Typer(
        name="samdistill",
        help="Prepare segmentation data sets, cache SAM3 teacher features, train small students.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # its tables cut long names and options on narrow terminals
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in _GROUPS:
        importlib.import_module(f"pipelines.cli.{group}").register(app)
    _list_in_full(app)
    return app


def _list_in_full(app: typer.Typer) -> None:
    """Let each list of commands show their first sentences, not what fits into 45 characters."""
    for command in app.registered_commands:
        command.short_help = (inspect.getdoc(command.callback) or "").partition("\n\n")[0]
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _list_in_full(group.typer_instance)


def main() -> None:
    """Run one command.

    Exit codes: 0 all done; 1 something failed or is quarantined past its budget; 2 wrong usage;
    130 interrupted (the same command goes on where it stopped).
    """
    try:
        build_app()()
    except SamdistillError as error:
        _fail(error, error.exit_code)
    except OSError as error:
        _fail(error, 1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise


def _fail(error: Exception, code: int) -> None:
    if os.environ.get("SAMDISTILL_TRACEBACK"):
        raise error
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
