"""Age and gender for donors whose table leaves them out (MeMa, Section 3, Step 2: FFHQ, labelled by DeepFace).

What the table gives is never changed. A second estimator's word is not averaged in: where the two disagree strongly,
the age or gender stays unknown, and the plan takes other donors first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from generation.photographs import Source, load_source
from mema.config import Config
from mema.engine import batches
from mema.faces.attributes import Estimator, estimator
from mema.files import read_json, sha256_json, write_json
from mema.records import FaceRecord, Gender

REPORT = "report.json"
BLOCK = 64


class AttributesConfig(Config):
    """Whose estimates fill what the table leaves out.

    ``estimator`` gives the values; where ``second`` sees another gender, or an age more than ``age_gap`` years away,
    they stay unknown. 15 years is our choice: neighbouring decades may be confused, a child and a parent may not.
    """

    estimator: str
    second: str | None = None
    age_gap: float = Field(default=15.0, gt=0)

    @model_validator(mode="after")
    def _two_opinions(self) -> AttributesConfig:
        if self.second == self.estimator:
            raise ValueError(f"second is {self.estimator} again")
        return self


class Donor(NamedTuple):
    """One row of the donors' table: record, photo and the photo's sha256."""

    record: FaceRecord
    source: Source
    sha256: str


class Estimate(NamedTuple):
    """What one estimator says of one photo: years and gender, both None where it saw no face."""

    age: float | None
    gender: Gender | None


def fill_attributes(donors: Sequence[Donor], config: AttributesConfig, folder: Path, size: int) -> list[Donor]:
    """Return ``donors`` with the ages and genders that can be told from their photos, cut to ``size`` px.

    Writes the estimates in blocks and then ``report.json`` into ``folder``; a rerun keeps the blocks that are there.
    UserError when an estimator's weights or package are missing.
    """
    rows = [row for row, donor in enumerate(donors) if None in (donor.record.age, donor.record.gender)]
    names = [config.estimator] if config.second is None else [config.estimator, config.second]
    instruments = [estimator(name) for name in names] if rows else []
    lacking = [donors[row] for row in rows]
    opinions = [estimate_donors(lacking, instrument, folder, size) for instrument in instruments]
    filled = list(donors)
    for row, *said in zip(rows, *opinions, strict=True):
        agreed = settle(said, config.age_gap)
        filled[row] = donors[row]._replace(record=_filled(donors[row].record, agreed))
    write_json(folder / REPORT, report([filled[row] for row in rows], len(donors), instruments, opinions, config))
    return filled


def estimate_donors(donors: Sequence[Donor], instrument: Estimator, folder: Path, size: int) -> list[Estimate]:
    """Return what ``instrument`` says of each donor's photo; blocks that ``folder`` holds are not estimated again."""
    from tqdm import tqdm

    said: list[Estimate] = []
    with tqdm(total=len(donors), desc=instrument.name, unit="image", disable=None) as bar:
        for number, block in enumerate(batches(donors, BLOCK)):
            # Whatever an estimate depends on.
            key = sha256_json([instrument.name, instrument.revision, size, [donor.sha256 for donor in block]])
            file = folder / f"{instrument.name}-{number:05d}.json"
            known = read_json(file) if file.is_file() else {}
            if known.get("key") != key:
                known = {"key": key, "estimates": _estimate(block, instrument, size)}
                write_json(file, known)
            said += [Estimate(*values) for values in known["estimates"]]
            bar.update(len(block))
    return said


def settle(said: Sequence[Estimate], age_gap: float) -> Estimate:
    """Return what the first of one or two estimates says, unknown where the second disagrees strongly.

    A second estimator that saw no face does not disagree.
    """
    first = said[0]
    age, gender = disagreements(said, age_gap)
    return Estimate(None if age else first.age, None if gender else first.gender)


def disagreements(said: Sequence[Estimate], age_gap: float) -> tuple[bool, bool]:
    """Say whether two estimates disagree in age (by more than ``age_gap`` years) and in gender."""
    if len(said) < 2:
        return False, False
    first, second = said
    age = first.age is not None and second.age is not None and abs(first.age - second.age) > age_gap
    return age, None not in (first.gender, second.gender) and first.gender != second.gender


def report(
    filled: Sequence[Donor],
    donors: int,
    instruments: Sequence[Estimator],
    opinions: Sequence[Sequence[Estimate]],
    config: AttributesConfig,
) -> dict[str, Any]:
    """Return who estimated, in whose photos no face was seen, and every donor of whom the two estimators disagree."""
    both = [pair for pair in zip(*opinions, strict=True) if len(pair) == 2 and None not in (pair[0].age, pair[1].age)]
    gaps = [abs(first.age - second.age) for first, second in both]
    verdicts = [disagreements(said, config.age_gap) for said in zip(*opinions, strict=True)]
    disputed = [
        {
            "donor": donor.record.image_id,
            "disagree": [what for what, no in zip(("age", "gender"), verdict, strict=True) if no],
            **{i.name: estimate._asdict() for i, estimate in zip(instruments, said, strict=True)},
        }
        for donor, verdict, *said in zip(filled, verdicts, *opinions, strict=True)
        if any(verdict)
    ]
    return {
        "donors": donors,
        "incomplete_in_table": len(filled),
        "estimators": {instrument.name: instrument.revision for instrument in instruments},
        "no_face": {
            instrument.name: [
                d.record.image_id for d, estimate in zip(filled, said, strict=True) if estimate.age is None
            ]
            for instrument, said in zip(instruments, opinions, strict=True)
        },
        "age_gap": config.age_gap,
        "seen_by_both": len(both),
        "age_difference_mean": round(float(np.mean(gaps)), 2) if gaps else None,
        "disagree_in_age": sum(age for age, _ in verdicts),
        "disagree_in_gender": sum(gender for _, gender in verdicts),
        "age_unknown": sum(donor.record.age is None for donor in filled),
        "gender_unknown": sum(donor.record.gender is None for donor in filled),
        "disputed": disputed,
    }


def _estimate(donors: Sequence[Donor], instrument: Estimator, size: int) -> list[Estimate]:
    ages, genders = instrument.estimate(np.stack([load_source(donor.source, size)[0] for donor in donors]))
    return [
        Estimate(None if np.isnan(age) else round(float(age), 1), gender)
        for age, gender in zip(ages, genders, strict=True)
    ]


def _filled(record: FaceRecord, estimate: Estimate) -> FaceRecord:
    return record.model_copy(
        update={
            "age": estimate.age if record.age is None else record.age,
            "gender": estimate.gender if record.gender is None else record.gender,
        }
    )
