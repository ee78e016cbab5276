"""Read what a hospital hands over into two private image sets (MeMa, Section 3, Step 1).

``mema generate cohort --config configs/demo.yaml`` reads ``patients.csv`` with the columns ``patient_id, image,
disease`` and optionally ``age, gender, skin_tone, lesion_mask, control``; ``image`` and ``lesion_mask`` are files
relative to the folder of the table. Every row is checked before anything is written. Patients marked as controls are
kept apart: no model may train on them, so that the audit can tell memory from resemblance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from generation.photographs import Source, check_sources, load_source
from generation.tables import Problems, Row, inside, parse_flag, parse_gender, parse_number, read_table
from mema.build import Build
from mema.config import Config
from mema.errors import UserError, nearest
from mema.files import sha256_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.taxonomy import Taxonomy, load_taxonomy

REQUIRED = ("patient_id", "image", "disease")
OPTIONAL = ("age", "gender", "skin_tone", "lesion_mask", "control")


class CohortConfig(Config):
    """``table`` lies in the hospital's folder; ``workers`` processes check the photos."""

    table: str = "patients.csv"
    workers: int = Field(default=1, ge=1)


class Patient(NamedTuple):
    """One photo of a patient: a record with pseudonyms, its files, their hash, and whether it is a control's."""

    record: FaceRecord
    source: Source
    sha256: str
    control: bool


def build_cohort(build: Build) -> tuple[ImageSet, ImageSet]:
    """Write ``Build.cohort`` and ``Build.controls`` (both private) and return them; see :func:`load_cohort`."""
    config = build.section("cohort", CohortConfig)
    photos = load_cohort(build.hospital / config.table, load_taxonomy(build.clinic), workers=config.workers)
    if all(photo.control for photo in photos):
        raise UserError(f"{config.table}: every patient is a control, nobody is left to train on")
    cohort = _write(build, [photo for photo in photos if not photo.control], build.cohort, "cohort")
    controls = _write(build, [photo for photo in photos if photo.control], build.controls, "controls")
    return cohort, controls


def load_cohort(table: Path, taxonomy: Taxonomy, *, workers: int = 1) -> list[Patient]:
    """Read and check ``patients.csv`` and every photo it names; one entry per row, in order.

    Subjects become ``patient-0001`` … in the order of their first row, the photo of row 17 ``photo-000017``, so that
    only who holds the table can go back. Raises one UserError for all bad rows.
    """
    rows, problems = read_table(table, required=REQUIRED, optional=OPTIONAL)
    names = {d.name.lower(): d.code for d in taxonomy.diseases} | {d.code: d.code for d in taxonomy.diseases}
    subjects = {patient: n for n, patient in enumerate(dict.fromkeys(row.cells["patient_id"] for row in rows), 1)}
    records, sources = [], []
    for row in rows:
        photo = inside(table.parent, row, "image", problems)
        mask = inside(table.parent, row, "lesion_mask", problems)
        disease = row.cells["disease"].lower()
        if disease and disease not in names:
            problems.add(row.number, f"disease: not one of {taxonomy.name}{nearest(disease, names)}")
        age = parse_number(row, "age", problems, 0, 120)
        skin_tone = parse_number(row, "skin_tone", problems, 1, 10, whole=True)
        records.append(
            FaceRecord(
                image_id=f"photo-{row.number:06d}",
                subject_id=f"patient-{subjects[row.cells['patient_id']]:04d}",
                disease=names.get(disease),
                age=age,
                gender=parse_gender(row, problems),
                skin_tone=None if skin_tone is None else int(skin_tone),
                has_mask=mask is not None,
            )
        )
        if photo is not None:
            sources.append(Source(row.number, photo, mask))
    controls = _controls(rows, problems)
    _check_patients(rows, records, problems)
    _check_repeats(sources, problems)
    checks = {c.row: c for c in check_sources(sources, workers=workers, label="check photos")}
    first: dict[str, int] = {}
    for check in checks.values():
        if check.problem is not None:
            problems.add(check.row, check.problem)
        elif first.setdefault(check.sha256, check.row) != check.row and not problems.has(check.row):
            problems.add(check.row, f"image: the same picture as row {first[check.sha256]}")
    problems.raise_if_any(len(rows))
    files = {source.row: source for source in sources}
    return [
        Patient(record, files[row.number], checks[row.number].sha256, row.cells["patient_id"] in controls)
        for row, record in zip(rows, records, strict=True)
    ]


def _controls(rows: Sequence[Row], problems: Problems) -> set[str]:
    """Return the patients marked as controls; one who is marked in some rows only is a problem."""
    marks: dict[str, bool] = {}
    for row in rows:
        control = parse_flag(row, "control", problems)
        if marks.setdefault(row.cells["patient_id"], control) != control:
            problems.add(row.number, "control: not the same in all rows of the patient")
    return {patient for patient, control in marks.items() if control}


def _check_patients(rows: Sequence[Row], records: Sequence[FaceRecord], problems: Problems) -> None:
    """Note rows that contradict an earlier row of the same patient on gender or skin tone."""
    for column in ("gender", "skin_tone"):
        known: dict[str, object] = {}
        for row, record in zip(rows, records, strict=True):
            value = getattr(record, column)
            if value is not None and known.setdefault(row.cells["patient_id"], value) != value:
                problems.add(row.number, f"{column}: not the same in all rows of the patient")


def _check_repeats(sources: Sequence[Source], problems: Problems) -> None:
    first: dict[Path, int] = {}
    for source in sources:
        if first.setdefault(source.photo, source.row) != source.row:
            problems.add(source.row, f"image: the same file as row {first[source.photo]}")


def _write(build: Build, photos: Sequence[Patient], path: Path, label: str) -> ImageSet:
    def make(start: int, stop: int) -> Iterator[Face]:
        for photo in photos[start:stop]:
            yield Face(photo.record, *load_source(photo.source, build.size))

    config = {
        "stage": label,
        "clinic": build.clinic,
        "size": build.size,
        "content": sha256_json([[photo.sha256, photo.record.model_dump(mode="json")] for photo in photos]),
    }
    return write_imageset(path, len(photos), make, config=config, label=label)
