"""How a release was made: the facts that its documents tell and that its folder would not show otherwise.

``making.json`` lies in the release, so that a retraction can write the documents of the next version from the folder
alone. Beside it: ``splits.csv``, the split of every image that any version placed, and ``tombstones.csv``, the images
that were taken out, since which version, and why.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from mema.errors import UserError
from mema.files import atomic_write, read_json, write_json
from mema.records import Split
from mema.release import SPLITS

MAKING, LEDGER, TOMBSTONES = "making.json", "splits.csv", "tombstones.csv"

# What a tombstone may say. No donor or patient is named, and several people retracted at once are not told apart.
Category = Literal["fault", "donor-withdrew", "patient-withdrew"]
CATEGORIES: tuple[Category, ...] = get_args(Category)


class Making(BaseModel):
    """``pixels`` is the side of the images; ``date`` is the one configured, since a clock gives no equal bytes.

    ``rejected`` counts filtered candidates by reason, ``declined`` those that annotators did not accept, ``left_out``
    those that would have joined two splits of an earlier version. Near-duplicates differ by less than ``group_rms``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str
    date: str | None
    pixels: int
    group_rms: float
    min_annotators: int
    rejected: dict[str, int]
    declined: int
    left_out: int

    @classmethod
    def load(cls, folder: Path) -> Making:
        """Read ``making.json`` of a release; UserError when it is absent or broken."""
        try:
            return cls.model_validate(read_json(folder / MAKING))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{folder / MAKING}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def write(self, folder: Path) -> None:
        """Write ``making.json``."""
        write_json(folder / MAKING, self.model_dump(mode="json"))


class Tombstone(NamedTuple):
    """An image that ``version`` no longer holds."""

    image_id: str
    version: str
    reason: str


def write_ledger(folder: Path, splits: Mapping[str, Split]) -> None:
    """Write ``splits.csv``, sorted by image id."""
    atomic_write(folder / LEDGER, _csv(("image_id", "split"), sorted(splits.items())))


def read_ledger(folder: Path) -> dict[str, Split]:
    """Return image id -> split; UserError names a row that is not one."""
    rows = _read(folder / LEDGER, ("image_id", "split"))
    for number, (_, split) in enumerate(rows, 2):
        if split not in SPLITS:
            raise UserError(f"{folder / LEDGER}: row {number}: '{split}' is no split")
    return {image_id: next(one for one in SPLITS if one == split) for image_id, split in rows}


def write_tombstones(folder: Path, tombstones: Sequence[Tombstone]) -> None:
    """Write ``tombstones.csv``, sorted by image id."""
    atomic_write(folder / TOMBSTONES, _csv(Tombstone._fields, sorted(tombstones)))


def read_tombstones(folder: Path) -> list[Tombstone]:
    """Return what was taken out so far."""
    return [Tombstone(*row) for row in _read(folder / TOMBSTONES, Tombstone._fields)]


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([columns, *rows])
    return sink.getvalue()


def _read(path: Path, columns: Sequence[str]) -> list[list[str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        head, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(f"{path}: not a CSV table ({error})") from None
    if head != list(columns) or any(len(row) != len(columns) for row in rows):
        raise UserError(f"{path}: the columns must be {', '.join(columns)}")
    return rows
