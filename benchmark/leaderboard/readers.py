"""What a method's page shows of clinical agreement: readers, their kappa, and whether the method is non-inferior."""

from __future__ import annotations

from typing import NamedTuple

from benchmark.board import Board
from benchmark.tracks.agreement import MACHINE, verdict
from mema.result import Metric, Result


class ReaderRow(NamedTuple):
    """A reader, or most of them where ``reader`` is empty: kappa, its change, and what that says."""

    reader: str
    kappa: Metric
    change: Metric | None
    verdict: str


class ReaderTable(NamedTuple):
    """All readers, most of them first; ``machines``: whether none is a physician."""

    rows: list[ReaderRow]
    margin: float
    machines: bool


def reader_table(result: Result, board: Board) -> ReaderTable | None:
    """Return what readers said of a result's images; None where nobody was asked."""
    metrics = {metric.name: metric for metric in result.metrics}
    margin = board.config.agreement.margin
    rows = []
    for name, kappa in metrics.items():
        kind, _, reader = name.partition(".")
        if kind == "kappa":
            change = metrics.get(f"kappa_change{name.removeprefix('kappa')}")
            said = verdict(change.interval, margin) if change and change.interval else "undecided"
            rows.append(ReaderRow(reader, kappa, change, said))
    if not rows:
        return None
    return ReaderTable(
        rows=sorted(rows, key=lambda row: row.reader),
        margin=margin,
        machines=all(row.reader.startswith(f"{MACHINE}-") for row in rows if row.reader),
    )
