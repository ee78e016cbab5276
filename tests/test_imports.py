"""The house rules of DESIGN §2: who imports whom, and what stays off the fast paths."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ("generation", "curation", "baselines", "benchmark")
HEAVY = ("torch", "diffusers", "transformers", "dlib", "datasets", "scipy", "sklearn", "pandas", "dvc")


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ["mema", *STAGES])
def test_stages_import_the_ground_floor_and_never_each_other(package):
    forbidden = set(STAGES) - {package}
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        assert not imported(file) & forbidden, file.relative_to(ROOT)


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "phantom --help",
        "generate --help",
        "reproduce --help",
        "curate --help",
        "annotate --help",
        "release --help",
        "medsem --help",
        "benchmark --help",
        "leaderboard --help",
        "benchmark methods",
        "weights",
    ],
)
def test_help_and_listings_import_nothing_heavy(arguments):
    program = (
        "import sys; from mema.cli import cli\n"
        f"try: cli({arguments.split()!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('heavy:', *sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_unknown_command_suggests_the_nearest_and_exits_2():
    done = subprocess.run(
        [sys.executable, "-m", "mema.cli", "benchmrk"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert "did you mean 'benchmark'" in done.stderr
    assert "Traceback" not in done.stderr
