"""Variants of MedSem-DeID as lines of text, the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from baselines.medsem_deid.reproduce.scores import ID_DIS, RECOVERED, TOP1
from baselines.medsem_deid.reproduce.settings import Experiments
from baselines.medsem_deid.reproduce.tables import Row, Sheet, estimate, estimates
from mema.claims import claim_lines
from mema.paper import PaperTable, paper
from mema.text import ABSENT, grid, number, percent

ITERATIONS = "iterations"
TITLES = {"table9": "Table 9", "table10": "Table 10", "fig8-medical": "Figure 8", "fig8-recover": "Figure 8"}


class _Column(NamedTuple):
    """The paper's column ``key`` and, after it, ours: their titles and scores, times ``scale``."""

    title: str
    key: str
    paper_digits: int
    digits: int
    ours: tuple[tuple[str, str], ...]
    scale: float = 1.0


def text(sheets: Sequence[Sheet], experiments: Experiments) -> str:
    """Return the sheets one after another."""
    return "\n\n".join("\n".join(_lines(sheet, experiments)) for sheet in sheets)


def _lines(sheet: Sheet, experiments: Experiments) -> list[str]:
    published, release = paper().tables[sheet.name], sheet.release
    who = "rendered people, not patients" if release.phantom else "virtual patients"
    readable = percent(estimate(sheet.originals[TOP1], sheet.subjects, share=True)._asdict())
    seeds = len(experiments.seeds)
    return [
        f"{TITLES[sheet.name]}: {published.title}.",
        f"The paper: {published.measured_on}.",
        f"Ours: {who}, {release.name} {release.version}, {len(sheet.subjects)} images of {len(set(sheet.subjects))} "
        "subjects; 95 % intervals over subjects.",
        f"Each variant is trained {'once' if seeds == 1 else f'{seeds} times'}: what another training would change is "
        f"{'not in the intervals' if seeds == 1 else 'the spread'}.",
        f"The judge reads {readable} % of the originals right.",
        "",
        *grid(_rows(sheet, published, experiments)),
        "",
        *published.notes,
        "",
        *claim_lines(sheet.claims),
    ]


def _rows(sheet: Sheet, published: PaperTable, experiments: Experiments) -> list[list[str]]:
    """Return the cells of all rows; of the settings those columns in which rows differ, and how long they trained."""
    settings = [_settings(row) for row in sheet.rows]
    shown = [name for name in settings[0] if name == ITERATIONS or len({one[name] for one in settings}) > 1]
    columns = [
        _Column("top-1, %", TOP1, 2, 1, (("ours", TOP1),), 100),
        _Column("ID-Dis", ID_DIS, 4, 3, tuple((f"by {name}", f"{ID_DIS}.{name}") for name in experiments.recognisers)),
        _Column("recovered, dB", RECOVERED, 2, 2, (("recovered, dB", RECOVERED),)),
    ]
    head = ["", *shown]
    for column in columns:
        head += [f"{column.title} (paper)"] if column.key in published.columns else []
        head += [title for title, _ in column.ours]
        head += ["spread"] if column.key == TOP1 and len(experiments.seeds) > 1 else []
    rows = [head]
    for row, setting in zip(sheet.rows, settings, strict=True):
        found, cells = estimates(row.scores, sheet.subjects), [row.name, *(setting[name] for name in shown)]
        for column in columns:
            if column.key in published.columns:
                value = published.cell(row.name, column.key)
                cells.append(ABSENT if value is None else f"{value:.{column.paper_digits}f}")
            for _, score in column.ours:
                scaled = {end: column.scale * value for end, value in found[score]._asdict().items()}
                cells.append(number(scaled, column.digits))
            if column.key == TOP1 and row.spread is not None:
                cells.append(f"{100 * row.spread:.1f}")
        rows.append(cells)
    return rows


def _settings(row: Row) -> dict[str, str]:
    parameters = row.parameters
    used = parameters.network.medical or parameters.loss.medical > 0
    return {
        "photos": parameters.schedule.data,
        "f_med": "yes" if parameters.network.medical else "",
        "L_med": f"{parameters.loss.medical:g}",
        "L_rev": f"{parameters.loss.recover:g}",
        "Enc_med": parameters.encoder.kind if used else "",
        ITERATIONS: f"{row.iterations:,}",
    }
