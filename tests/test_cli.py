from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import build_app

HEAVY = (
    "torch", "ray", "transformers", "timm", "pyarrow", "zarr", "boto3", "httpx", "skimage", "numpy",
)  # fmt: skip


def samdistill(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_the_commands_and_loads_nothing_heavy() -> None:
    """Loading torch to print a help text would cost seconds."""
    program = (
        "import sys\n"
        "from pipelines.cli.main import build_app\n"
        "try:\n"
        "    build_app()(['--help'])\n"
        "finally:\n"
        f"    print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    for command in (
        "datasets", "download", "normalize", "cache", "publish", "verify", "inspect", "train",
        "demo",
    ):  # fmt: skip
        assert command in run.stdout
    assert "HEAVY []" in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize("columns", [60, 80])
def test_help_cuts_nothing_on_a_narrow_terminal(columns: int) -> None:
    app = build_app()

    def help_of(*command: str) -> str:
        return CliRunner().invoke(app, [*command, "--help"], terminal_width=columns).output

    whole = help_of()
    names = whole.partition("Commands:")[2].split("\n  ")[1:]
    pages = {name.split()[0]: help_of(name.split()[0]) for name in names if name[0] != " "}
    assert {"datasets", "download", "normalize", "train"} <= pages.keys()
    for page in (whole, *pages.values()):
        assert max(map(len, page.splitlines())) <= columns
        assert "…" not in page
        assert "..." not in page.replace("[ARGS]...", "")
    assert "--verify-existing " in pages["download"]
    assert "--max-quarantined SHARE " in pages["normalize"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("downlod",), "download"),
        (("download", "cocoo"), "unknown data set 'cocoo'. Did you mean coco"),
        (("normalize", "davs"), "Did you mean davis"),
        (("download", "coco", "--split", "val2071"), "val2017"),
        (("normalize", "coco", "--split", "val2071"), "val2017"),
        (("train", "demo", "--student", "repvit_m0.9"), "repvit_m0_9"),
        (("demo", "--root", "s3://bucket"), "a local folder"),
    ],
)
def test_a_typing_error_is_one_line_with_the_nearest_names(
    arguments: tuple[str, ...], text: str
) -> None:
    run = samdistill(*arguments)
    assert run.returncode == 2, run.stderr
    assert text in run.stderr
    assert "Traceback" not in run.stderr


def test_a_manifest_of_an_empty_root_says_what_to_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("root")
    run = samdistill("inspect", "demo", "--root", str(root))
    assert run.returncode == 1
    assert "samdistill publish" in run.stderr
