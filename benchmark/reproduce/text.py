"""A table of methods as lines of text: under each of the paper's ours, then ours that the paper has not."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.reproduce.columns import COUNTERPARTS, Column, counterpart_of
from benchmark.reproduce.tables import Measured, Table, population
from mema.claims import claim_lines
from mema.paper import PaperTable, paper
from mema.statistics import Estimate
from mema.text import ABSENT, grid, number


def text(table: Table, measured: Measured) -> str:
    """Return the table, what it lacks, what is wrong with the paper's, and the verdicts."""
    published = paper().tables[table.name]
    release, first = measured.release, measured.results[0]
    lines = [
        f"Table {table.name.removeprefix('table')}: {published.title}.",
        f"The paper: {published.measured_on}.",
        f"Ours: {population(release)}, {release.name} {release.version}, {len(first.image_ids)} images of "
        f"{len(set(first.subject_ids))} subjects; 95 % intervals over subjects.",
        "",
        *_grids(table, published, measured),
        "",
        *_missing(table),
        *published.notes,
        "",
        *claim_lines(table.claims),
    ]
    return "\n".join(lines)


def _grids(table: Table, published: PaperTable, measured: Measured) -> list[str]:
    """Return the columns of all images, then those of single diseases."""
    of_disease = ["/" in column.metric for column in table.columns]
    whole, single = ([place for place, one in enumerate(of_disease) if one == asked] for asked in (False, True))
    lines = grid(_rows(table, published, measured, whole, about=True))
    return [*lines, "", *grid(_rows(table, published, measured, single, about=False))] if single else lines


def _rows(
    table: Table, published: PaperTable, measured: Measured, places: Sequence[int], *, about: bool
) -> list[list[str]]:
    """Return the cells of the columns at ``places``, with what methods are ``about`` if asked."""
    columns = [table.columns[place] for place in places]
    described = {result.method.name: result.method for result in measured.results}
    with_prior = table.name == "table3"
    titles = ["rev", *(["prior"] if with_prior else [])] if about else []

    def known(reversible: bool, prior: str) -> list[str]:
        return ["yes" if reversible else "", prior][: len(titles)]

    def ours(name: str, note: str = "") -> list[str]:
        method, cells = described[name], [table.cells[name][place] for place in places]
        shown = map(_shown, columns, cells)
        return [f"  {name}{note}", *known(method.reversible, method.prior), *shown]

    rows = [["", *titles, *(column.title for column in columns)]]
    for name in dict.fromkeys(row.partition(",")[0] for row in published.rows):
        method = paper().methods[name]
        for row in (row for row in published.rows if row.partition(",")[0] == name):
            numbers = (_published(published, row, column) for column in columns)
            rows.append([f"{row} (paper)", *known(method.reversible, method.prior), *numbers])
        for counterpart in (one for one in COUNTERPARTS if one.row == name):
            note = counterpart.note
            ran = [method for method in table.cells if counterpart_of(method) == counterpart]
            rows += [ours(method, note) for method in ran]
            if not ran:
                rows.append([f"  {counterpart.prefix}{note}", *[""] * len(titles), *[ABSENT] * len(columns)])
    others = [name for name in table.cells if counterpart_of(name) is None]
    return [*rows, *([["not in the paper"]] if others else []), *map(ours, others)]


def _published(published: PaperTable, row: str, column: Column) -> str:
    value = published.cell(row, column.key)
    return ABSENT if value is None else f"{value:.{column.digits[0]}f}"


def _shown(column: Column, cell: Estimate | None) -> str:
    scaled = cell and {key: column.scale * value for key, value in cell._asdict().items()}
    return number(scaled, column.digits[1])


def _missing(table: Table) -> list[str]:
    """Say which columns no method of ours has a number in, and what would bring it."""
    absent: dict[str, list[str]] = {}
    for place, column in enumerate(table.columns):
        if all(cells[place] is None for cells in table.cells.values()):
            absent.setdefault(column.setting, []).append(column.title)
    return [
        f"Not measured: {', '.join(titles)}" + (f"; it takes {setting} in the YAML." if setting else ".")
        for setting, titles in absent.items()
    ]
