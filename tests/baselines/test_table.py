"""The table of methods in the documentation is the one that the configurations give."""

from __future__ import annotations

from pathlib import Path

from baselines.registry import METHODS
from baselines.table import CONFIGS, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "methods.md"


def test_the_documented_table_is_the_printed_one() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    documented = [line for line in lines if line.startswith("|")]
    assert documented == table(), "put what `python -m baselines.table` prints into docs/methods.md"


def test_every_method_has_a_row_and_every_row_says_what_it_does() -> None:
    rows = [line.strip("| ").split(" | ") for line in table()[2:]]
    assert len(rows) == len(list(CONFIGS.glob("*.yaml")))
    assert {row[1].strip("`") for row in rows} == set(METHODS.names())
    assert all(len(row[-1]) > 15 for row in rows)
