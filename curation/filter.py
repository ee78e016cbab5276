"""Filter: leave out candidates that must not or cannot be used, and say why (MeMa, Section 3, Step 3).

``mema curate filter --config configs/demo.yaml`` writes the image sets ``kept/`` and ``rejected/``, ``reasons.csv`` (a
row per rejected image) and ``report.json`` into ``Build.filtered``. A filter takes the candidates that are left and
returns a reason for each, or None; the first filter that objects gives the reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from pydantic import Field

from curation.duplicates import near_pairs, thumbnail
from curation.reading import copier, read_rows
from curation.report import COMBINED, FLAGS, OWN_DONOR, REPORT, AuditReport
from mema.build import Build
from mema.config import Config
from mema.engine import map_batches
from mema.errors import UserError
from mema.files import atomic_write, sha256_file, write_json
from mema.imageset import ImageSet, write_imageset

KEPT, REJECTED, REASONS, FILTER_REPORT = "kept", "rejected", "reasons.csv", "report.json"
COLUMNS = ("image_id", "reason", "detail")
BATCH = 64

Rule = Literal["any", "majority", "off"]


class FilterConfig(Config):
    """What is left out.

    ``near_patient`` and ``near_donor``: candidates that ``any`` recogniser of the audit, or the ``majority`` of them,
    finds nearer than the threshold to a training patient or to their own donor. ``face``: those without a
    face that the detector sees. ``duplicate_rms``: those whose 16-pixel thumbnail differs from an earlier one's by
    less than so many grey levels (0: none).
    """

    near_patient: Rule = "any"
    near_donor: Rule = "off"
    face: bool = True
    duplicate_rms: float = Field(default=4.0, ge=0)
    workers: int = Field(default=1, ge=1)


class Reason(NamedTuple):
    """Why an image is left out: a fixed ``code``, and a detail for the reader."""

    code: str
    detail: str = ""


class Candidates(NamedTuple):
    """What the filters look at; all are of length N. ``flags`` are the columns of the audit's public table."""

    image_ids: list[str]
    flags: Mapping[str, np.ndarray]
    seen: np.ndarray
    thumbnails: np.ndarray


Filter = Callable[[Candidates, np.ndarray, FilterConfig], Sequence[Reason | None]]


def near_patient(candidates: Candidates, rows: np.ndarray, config: FilterConfig) -> list[Reason | None]:
    """Reject what resembles a training patient."""
    return _flagged(candidates, rows, config.near_patient, "", "near-identity")


def near_donor(candidates: Candidates, rows: np.ndarray, config: FilterConfig) -> list[Reason | None]:
    """Reject what resembles the donor whose attributes were injected."""
    return _flagged(candidates, rows, config.near_donor, OWN_DONOR, "near-donor")


def no_face(candidates: Candidates, rows: np.ndarray, config: FilterConfig) -> list[Reason | None]:
    """Reject images in which the detector sees no face."""
    return [Reason("no-face") if config.face and not candidates.seen[row] else None for row in rows]


def near_duplicate(candidates: Candidates, rows: np.ndarray, config: FilterConfig) -> list[Reason | None]:
    """Reject images that repeat an earlier one that stays."""
    reasons: list[Reason | None] = [None] * len(rows)
    for first, second in near_pairs(candidates.thumbnails[rows], config.duplicate_rms).tolist():
        if reasons[first] is None and reasons[second] is None:
            reasons[second] = Reason("near-duplicate", f"of {candidates.image_ids[rows[first]]}")
    return reasons


FILTERS: tuple[Filter, ...] = (near_patient, near_donor, no_face, near_duplicate)


def screen(candidates: Candidates, config: FilterConfig) -> list[Reason | None]:
    """Return the reason of each candidate: every filter sees what those before it left."""
    reasons: list[Reason | None] = [None] * len(candidates.image_ids)
    for one in FILTERS:
        rows = np.array([row for row, reason in enumerate(reasons) if reason is None], dtype=np.int64)
        for row, reason in zip(rows.tolist(), one(candidates, rows, config), strict=True):
            reasons[row] = reason
    return reasons


def run_filter(build: Build) -> dict[str, Any]:
    """Split ``Build.candidates`` by the filters; returns the report: how many for which reason.

    UserError when the audit is missing or of other candidates.
    """
    config = build.section("filter", FilterConfig)
    source = ImageSet.open(build.candidates)
    flags = read_flags(build, source)
    measured = list(
        map_batches(
            partial(_measure, source.path, config.face),
            range(source.count),
            batch_size=BATCH,
            workers=config.workers,
            label="look for faces",
        )
    )
    candidates = Candidates(
        [record.image_id for record in source.records()],
        flags,
        np.concatenate([seen for seen, _ in measured]),
        np.concatenate([thumbnails for _, thumbnails in measured]),
    )
    reasons = screen(candidates, config)
    kept = [row for row, reason in enumerate(reasons) if reason is None]
    rejected = [(row, reason) for row, reason in enumerate(reasons) if reason is not None]
    origin = {
        "stage": "filter",
        "candidates": source.digest,
        "audit": sha256_file(build.audit / REPORT),
        "filter": config.model_dump(mode="json", exclude={"workers"}),
    }
    sets = [
        write_imageset(build.filtered / name, len(rows), copier(source, rows), config={**origin, "part": name})
        for name, rows in ((KEPT, kept), (REJECTED, [row for row, _ in rejected]))
    ]
    assert sum(one.count for one in sets) == source.count, "a candidate was lost"
    table = [(candidates.image_ids[row], reason.code, reason.detail) for row, reason in rejected]
    atomic_write(build.filtered / REASONS, _csv(table))
    codes = [code for _, code, _ in table]
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    report = {
        "candidates": source.count,
        "kept": sets[0].count,
        "rejected": counts,
        "config": origin["filter"],
        "digest": sets[0].digest,
    }
    write_json(build.filtered / FILTER_REPORT, report)
    return report


def read_flags(build: Build, source: ImageSet) -> dict[str, np.ndarray]:
    """Return the audit's public flags, bool (N,) per column, in the order of ``source``, which it must be of."""
    if AuditReport.load(build.audit).candidates != source.digest:
        raise UserError(f"{build.audit}: the audit is of other candidates: run `mema curate audit` again")
    table = pq.read_table(build.audit / FLAGS)
    if table["image_id"].to_pylist() != [record.image_id for record in source.records()]:
        raise UserError(f"{build.audit / FLAGS} does not list the candidates: run `mema curate audit` again")
    return {name: table[name].to_numpy() for name in table.column_names if name != "image_id"}


def _flagged(candidates: Candidates, rows: np.ndarray, rule: Rule, prefix: str, code: str) -> list[Reason | None]:
    if rule == "off":
        return [None] * len(rows)
    names = [name for name in candidates.flags if name.startswith(OWN_DONOR) == (prefix == OWN_DONOR)]
    instruments = [name for name in names if name.removeprefix(prefix) not in COMBINED]

    def detail(row: int) -> str:
        return " ".join(name.removeprefix(prefix) for name in instruments if candidates.flags[name][row])

    combined = candidates.flags[prefix + rule]
    return [Reason(code, detail(row)) if combined[row] else None for row in rows.tolist()]


def _measure(path: Path, face: bool, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return for a run of rows whether a face is seen, bool (N,), and the thumbnails (N, 768)."""
    from mema.faces.detector import detect

    images = np.stack([one.image for one in read_rows(path, rows[0], rows[-1] + 1)])
    seen = detect(images) if face else np.ones(len(images), bool)
    return seen, np.stack([thumbnail(image) for image in images])


def _csv(rows: Sequence[Sequence[str]]) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    return sink.getvalue()
