"""The numbers of MeMa's tables, as ``paper.yaml`` beside this file holds them, for whoever prints ours beside them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import model_validator

from mema.config import Config, read_yaml, validate

FILE = Path(__file__).with_name("paper.yaml")
OURS = "MedSem-DeID"
"""The paper's own method, which its tables call «Ours»."""


class PaperMethod(Config):
    """A method of the paper: whether it is reversible, and its prior in the words of Table 3."""

    reversible: bool
    prior: str


class PaperTable(Config):
    """A table or a part of a figure: ``rows[name]`` has a number, or None, for each of ``columns``."""

    title: str
    measured_on: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> PaperTable:
        for name, values in self.rows.items():
            if len(values) != len(self.columns):
                raise ValueError(f"{name} has {len(values)} numbers for {len(self.columns)} columns")
        return self

    def cell(self, row: str, column: str) -> float | None:
        """Return a number in the paper's units; None where it gives none."""
        if row not in self.rows or column not in self.columns:
            return None
        return self.rows[row][self.columns.index(column)]


class Paper(Config):
    """All of them."""

    methods: dict[str, PaperMethod]
    tables: dict[str, PaperTable]


@cache
def paper() -> Paper:
    """Return what the paper says."""
    return validate(Paper, read_yaml(FILE), str(FILE))
