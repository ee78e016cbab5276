"""CSV tables as a hospital hands them over: read whole, with every bad row reported at once.

Messages carry row numbers (the header is row 1, as a spreadsheet counts) and column names only, never a cell's content:
a shifted column could put a patient's name where a disease is expected.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mema.errors import UserError, nearest
from mema.records import Gender

MAX_BYTES = 200_000_000
SHOWN = 20

_GENDERS: dict[str, Gender] = {"female": "female", "f": "female", "male": "male", "m": "male"}
_TRUE, _FALSE = ("1", "true", "yes"), ("", "0", "false", "no")


class Row(NamedTuple):
    """One row: its number and its stripped cells by column; optional columns that are absent are empty."""

    number: int
    cells: dict[str, str]


class Problems:
    """What is wrong with a table, gathered row by row and raised as one UserError."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._reasons: dict[int, list[str]] = {}

    def add(self, row: int, reason: str) -> None:
        """Note what is wrong with a row; ``reason`` begins with the column's name."""
        self._reasons.setdefault(row, []).append(reason)

    def has(self, row: int) -> bool:
        """Say whether something is wrong with the row."""
        return row in self._reasons

    def raise_if_any(self, rows: int) -> None:
        """Raise UserError: a summary line, then up to 20 lines ``row 17: <column>: <reason>``."""
        if not self._reasons:
            return
        bad = sorted(self._reasons)
        lines = [f"{self.table}: {len(bad)} of {rows} rows cannot be used"]
        lines += [f"row {row}: {'; '.join(self._reasons[row])}" for row in bad[:SHOWN]]
        if len(bad) > SHOWN:
            lines.append(f"and {len(bad) - SHOWN} more rows")
        raise UserError("\n".join(lines))


def read_table(path: Path, *, required: Sequence[str], optional: Sequence[str]) -> tuple[list[Row], Problems]:
    """Read a comma-separated UTF-8 file (a byte order mark is accepted) with a header.

    Returns its rows and the problems found so far (rows with too few or too many cells, which are left out). UserError
    for a file that is missing, empty, too large or of another encoding, and for missing, unknown or repeated columns.
    """
    name = path.name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{name}: larger than {MAX_BYTES // 1_000_000} MB")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{name}: no such file in the folder of photos") from None
    except IsADirectoryError:
        raise UserError(f"{name}: a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: byte {error.start} is not UTF-8; save the table as 'CSV UTF-8'") from None
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{name}: not a CSV table ({error})") from None
    if not any(cell.strip() for line in lines for cell in line):
        raise UserError(f"{name}: empty")

    header = [cell.strip().lower() for cell in lines[0]]
    _check_header(name, header, required, optional)
    problems, rows = Problems(name), []
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            problems.add(number, f"{len(line)} cells where the header has {len(header)}")
            continue
        cells = dict.fromkeys(optional, "") | {c: v.strip() for c, v in zip(header, line, strict=True)}
        for column in required:
            if not cells[column]:
                problems.add(number, f"{column}: empty")
        rows.append(Row(number, cells))
    if not rows and not problems.has(2):
        problems.raise_if_any(0)
        raise UserError(f"{name}: a header but no rows")
    return rows, problems


def _check_header(name: str, header: list[str], required: Sequence[str], optional: Sequence[str]) -> None:
    known = [*required, *optional]
    missing = [column for column in required if column not in header]
    if missing and len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise UserError(f"{name}: columns must be separated by commas")
    if missing:
        raise UserError(f"{name}: no column {', '.join(missing)}; needed: {', '.join(required)}")
    for place, column in enumerate(header):
        if column not in known:
            raise UserError(f"{name}: unknown column '{column}' (number {place + 1}){nearest(column, known)}")
        if column in header[:place]:
            raise UserError(f"{name}: column '{column}' occurs twice")


def parse_number(
    row: Row, column: str, problems: Problems, low: float, high: float, *, whole: bool = False
) -> float | None:
    """Return a number in [low, high]; None if the cell is empty or, with a problem noted, wrong."""
    cell = row.cells[column]
    if not cell:
        return None
    try:
        value = float(int(cell)) if whole else float(cell)
    except ValueError:
        problems.add(row.number, f"{column}: not a {'whole ' if whole else ''}number")
        return None
    # Written so that "nan" fails as well.
    if not low <= value <= high:
        problems.add(row.number, f"{column}: not between {low:g} and {high:g}")
        return None
    return value


def parse_gender(row: Row, problems: Problems) -> Gender | None:
    """Return the gender; None if the cell is empty or, with a problem noted, neither female nor male."""
    cell = row.cells["gender"].lower()
    if cell and cell not in _GENDERS:
        problems.add(row.number, "gender: neither female nor male")
    return _GENDERS.get(cell)


def parse_flag(row: Row, column: str, problems: Problems) -> bool:
    """Return whether the cell says 1, true or yes; an empty one is False, others are noted as problems."""
    cell = row.cells[column].lower()
    if cell not in _TRUE + _FALSE:
        problems.add(row.number, f"{column}: neither 1 nor 0")
    return cell in _TRUE


def inside(root: Path, row: Row, column: str, problems: Problems) -> Path | None:
    """Return the file that a cell names relative to ``root``; a problem if it leaves that folder."""
    cell = row.cells[column]
    if not cell:
        return None
    try:
        path = (root / cell).resolve()
    except (ValueError, OSError):
        path = None
    if path is None or not path.is_relative_to(root.resolve()):
        problems.add(row.number, f"{column}: leads out of the folder of photos")
        return None
    return path
