"""Read the public faces whose attributes are injected (MeMa's FFHQ) into an image set.

``mema generate donors --config configs/demo.yaml`` reads ``donors.csv`` with the columns ``image, age, gender`` and
optionally ``skin_tone``. With ``donors: {attributes: {estimator: deepface}}`` ages and genders may be left out, as
cells or as columns, and are estimated. The donor of the table's row n (from 0) is ``donor-0000n``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from generation.donor_attributes import AttributesConfig, Donor, fill_attributes
from generation.photographs import Source, check_sources, load_source
from generation.tables import inside, parse_gender, parse_number, read_table
from mema.build import Build
from mema.config import Config
from mema.files import sha256_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord

TABLE = "donors.csv"


class DonorsConfig(Config):
    """``attributes``: who estimates the ages and genders that the table leaves out; None: it must give them all."""

    attributes: AttributesConfig | None = None


def build_donors(build: Build) -> ImageSet:
    """Write ``Build.donors`` from ``Build.donor_photos`` and return it; one UserError names all bad rows."""
    attributes = build.section("donors", DonorsConfig).attributes
    faces = load_donors(build.donor_photos / TABLE, complete=attributes is None)
    if attributes is not None:
        faces = fill_attributes(faces, attributes, build.donor_attributes, build.size)

    def make(start: int, stop: int) -> Iterator[Face]:
        for record, source, _ in faces[start:stop]:
            yield Face(record, load_source(source, build.size)[0])

    content = sha256_json([[digest, record.model_dump(mode="json")] for record, _, digest in faces])
    config = {"stage": "donors", "size": build.size, "content": content}
    return write_imageset(build.donors, len(faces), make, config=config, label="donors")


def load_donors(table: Path, *, complete: bool = True) -> list[Donor]:
    """Read and check ``donors.csv`` and every photo it names; unless ``complete``, age and gender may be left out."""
    known = ("age", "gender")
    rows, problems = read_table(
        table,
        required=("image", *known) if complete else ("image",),
        optional=("skin_tone",) if complete else (*known, "skin_tone"),
    )
    records, sources = [], []
    for index, row in enumerate(rows):
        skin_tone = parse_number(row, "skin_tone", problems, 1, 10, whole=True)
        name = f"donor-{index:05d}"
        records.append(
            FaceRecord(
                image_id=name,
                subject_id=name,
                age=parse_number(row, "age", problems, 0, 120),
                gender=parse_gender(row, problems),
                skin_tone=None if skin_tone is None else int(skin_tone),
            )
        )
        photo = inside(table.parent, row, "image", problems)
        if photo is not None:
            sources.append(Source(row.number, photo))
    checks = check_sources(sources, workers=1, label="check donors")
    for check in checks:
        if check.problem is not None:
            problems.add(check.row, check.problem)
    problems.raise_if_any(len(rows))
    return [Donor(r, s, c.sha256) for r, s, c in zip(records, sources, checks, strict=True)]
