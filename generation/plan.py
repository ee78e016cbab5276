"""The plan: one row per image to make (MeMa, Section 3, Step 2; Table 2).

``mema generate plan --config configs/demo.yaml`` writes ``plan.csv`` and ``plan.report.json`` beside it. Disease, age,
gender and skin tone follow the cohort's photos jointly, by quotas (``generation.quotas``); every row gets a public
donor of its gender and nearest age, a donor weight ~ U[0.2, 0.4] and a seed of its own. The same seed gives the same
bytes. The plan is public and names no patient.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, model_validator

from generation.quotas import (
    TONE_GROUPS,
    Distances,
    Target,
    distances,
    draw_targets,
    joint_distance,
    joint_least,
    joint_luck,
)
from mema.build import Build
from mema.config import Config
from mema.errors import UserError
from mema.files import atomic_write, write_json
from mema.imageset import ImageSet
from mema.records import FaceRecord, Gender, Identifier, Severity
from mema.taxonomy import Taxonomy, load_taxonomy

# MeMa Table 2: random sampling -> distribution-guided sampling.
PAPER_DISTANCES = {"random": Distances(0.256, 0.143, 0.157), "guided": Distances(0.003, 0.002, 0.002)}
HEALTHY = "normal"
REPORT = "plan.report.json"


class PlanConfig(Config):
    """What to make.

    ``donor_weight`` is the range of the uniform draw, None samples without donors; a donor serves ``donor_uses_max``
    rows at most. In the choice of a donor a step of the skin tone and a use of the donor count as so many years of age.
    """

    count: int = Field(default=42_307, ge=1)
    donor_weight: tuple[float, float] | None = (0.2, 0.4)
    donor_uses_max: int = Field(default=4, ge=1)
    skin_tone_years: float = Field(default=0.5, ge=0)
    reuse_years: float = Field(default=0.5, ge=0)
    severities: tuple[Severity, ...] = ("slight", "mid", "heavy")
    seed: int = 0

    @model_validator(mode="after")
    def _ordered(self) -> PlanConfig:
        if self.donor_weight is not None and not 0 <= self.donor_weight[0] <= self.donor_weight[1] <= 1:
            raise ValueError("donor_weight is not a range within [0, 1]")
        if not self.severities:
            raise ValueError("severities is empty")
        return self


class PlanRow(Config):
    """One image to make; ``age``, ``gender`` and ``skin_tone`` are what the distribution asks for."""

    row_id: int = Field(ge=0)
    image_id: Identifier
    subject_id: Identifier
    disease: str
    severity: Severity | None
    age: float | None
    gender: Gender | None
    skin_tone: int | None
    prompt: str
    donor_id: Identifier | None
    donor_weight: float | None
    seed: int


def plan(build: Build) -> list[PlanRow]:
    """Write ``Build.plan`` and its report, and return the rows."""
    config = build.section("plan", PlanConfig)
    cohort = ImageSet.open(build.cohort).records()
    donors = read_donors(build, config)
    rows = make_plan(cohort, donors, load_taxonomy(build.clinic), config)
    write_plan(rows, build.plan)
    write_json(build.plan.with_name(REPORT), report(rows, cohort, donors))
    return rows


def read_donors(build: Build, config: PlanConfig) -> list[FaceRecord]:
    """Return the records of ``Build.donors``; none where the plan has no use for them."""
    return [] if config.donor_weight is None else ImageSet.open(build.donors).records()


def make_plan(
    cohort: Sequence[FaceRecord], donors: Sequence[FaceRecord], taxonomy: Taxonomy, config: PlanConfig
) -> list[PlanRow]:
    """Return ``config.count`` rows in a shuffled order; UserError if the donors do not suffice.

    Severities are used evenly within a disease; the healthy class has none and is prompted by its caption.
    """
    random = np.random.default_rng(config.seed)
    targets = draw_targets(cohort, config.count)
    targets = [targets[i] for i in random.permutation(len(targets))]
    levels: Counter[str] = Counter()
    severities: list[Severity | None] = []
    for target in targets:
        step = levels[target.disease] % len(config.severities)
        severities.append(None if target.disease == HEALTHY else config.severities[step])
        levels[target.disease] += 1
    chosen, weights = draw_injections(targets, donors, config, random)
    seeds = random.integers(2**31, size=len(targets))
    return [
        PlanRow(
            row_id=number,
            image_id=f"image-{number:05d}",
            subject_id=f"virtual-{number:05d}",
            disease=target.disease,
            severity=severity,
            age=target.age,
            gender=target.gender,
            skin_tone=target.skin_tone,
            prompt=prompt_of(taxonomy, target.disease, severity),
            donor_id=None if donor is None else donor.image_id,
            donor_weight=weight,
            seed=int(seed),
        )
        for number, (target, severity, donor, weight, seed) in enumerate(
            zip(targets, severities, chosen, weights, seeds, strict=True)
        )
    ]


def prompt_of(taxonomy: Taxonomy, disease: str, severity: Severity | None) -> str:
    """Return the prompt of an image; without a severity it is the training caption."""
    return taxonomy.caption(disease) if severity is None else taxonomy.prompt(disease, severity)


def draw_injections(
    targets: Sequence[Target],
    donors: Sequence[FaceRecord],
    config: PlanConfig,
    random: np.random.Generator,
    uses_before: Mapping[str, int] = MappingProxyType({}),
) -> tuple[list[FaceRecord | None], list[float | None]]:
    """Return a donor (see :func:`choose_donors`) and a weight for each target; None where the plan has no donors."""
    if config.donor_weight is None:
        return [None] * len(targets), [None] * len(targets)
    weights = [round(float(weight), 4) for weight in random.uniform(*config.donor_weight, len(targets))]
    return [*choose_donors(targets, donors, config, random, uses_before)], [*weights]


def choose_donors(
    targets: Sequence[Target],
    donors: Sequence[FaceRecord],
    config: PlanConfig,
    random: np.random.Generator,
    uses_before: Mapping[str, int] = MappingProxyType({}),
) -> list[FaceRecord]:
    """Return a donor for each target: of its gender, of the nearest age and skin tone, used as evenly as possible.

    Targets are served in a random order, ties between donors are broken at random, both by ``random``.
    ``uses_before`` counts, by donor id, the rows that donors serve already. UserError if the donors do not suffice.
    """
    if not donors:
        raise UserError("plan: there are no donors")
    wanted = Counter(target.gender for target in targets)
    for gender, count in wanted.items():
        here = sum(gender is None or donor.gender == gender for donor in donors)
        if count > here * config.donor_uses_max:
            raise UserError(
                f"plan: {count} images need {gender or 'any'} donors, but {here} donors at"
                f" {config.donor_uses_max} uses serve {here * config.donor_uses_max}"
            )
    order = random.permutation(len(donors))
    donors = [donors[i] for i in order]
    ages = np.array([np.nan if d.age is None else d.age for d in donors])
    tones = np.array([np.nan if d.skin_tone is None else d.skin_tone for d in donors], float)
    genders = np.array([d.gender or "" for d in donors])
    uses = np.array([uses_before.get(donor.image_id, 0) for donor in donors], float)
    chosen: list[FaceRecord | None] = [None] * len(targets)
    # Targets of unknown gender take what the others leave.
    rows = sorted(random.permutation(len(targets)), key=lambda row: targets[row].gender is None)
    for row in rows:
        target = targets[row]
        cost = config.reuse_years * uses
        if target.age is not None:
            cost = cost + np.nan_to_num(np.abs(ages - target.age), nan=100.0)
        if target.skin_tone is not None:
            cost = cost + config.skin_tone_years * np.nan_to_num(np.abs(tones - target.skin_tone), nan=5.0)
        closed = uses >= config.donor_uses_max
        if target.gender is not None:
            closed |= genders != target.gender
        best = int(np.argmin(np.where(closed, np.inf, cost)))
        if closed[best]:
            raise UserError("plan: there are not enough donors; add some or raise donor_uses_max")
        uses[best] += 1
        chosen[row] = donors[best]
    return [donor for donor in chosen if donor is not None]


def report(rows: Sequence[PlanRow], cohort: Sequence[FaceRecord], donors: Sequence[FaceRecord]) -> dict[str, Any]:
    """Return the plan's distances to the cohort beside the paper's, those of its donors, and how donors are used.

    ``joint`` is the distance of the joint distribution: of the plan, of its donors, the least that so many whole images
    can have, and what drawing so many patients at random would give (mean and 95 % interval).
    """
    targets = targets_of(rows)
    by_id = {donor.image_id: donor for donor in donors}
    used = [by_id[row.donor_id] for row in rows if row.donor_id is not None]
    realised = [Target(row.disease, d.gender, d.age, d.skin_tone) for row, d in zip(rows, used, strict=False)]
    uses = Counter(donor.image_id for donor in used)
    luck, low, high = joint_luck(cohort, len(rows))
    tones = ", ".join(f"{first}-{last}" for first, last in TONE_GROUPS)
    return {
        "images": len(rows),
        "distance": "total variation of disease and gender; W1 of age / 85 years",
        "plan": distances(targets, cohort)._asdict(),
        "donors": distances(realised, cohort)._asdict() if realised else None,
        "joint": {
            "distance": f"total variation of disease x gender x decade of age x skin tones {tones}",
            "plan": joint_distance(targets, cohort),
            "donors": joint_distance(realised, cohort) if realised else None,
            "least": joint_least(cohort, len(rows)),
            "random": {"value": luck, "low": low, "high": high},
        },
        "paper": {name: value._asdict() for name, value in PAPER_DISTANCES.items()},
        "diseases": dict(sorted(Counter(row.disease for row in rows).items())),
        "severities": dict(sorted(Counter(row.severity or "none" for row in rows).items())),
        "donors_used": len(uses),
        "donor_uses_most": max(uses.values(), default=0),
        "age_gap_years": round(_age_gap(rows, used), 3) if used else None,
    }


def targets_of(rows: Iterable[PlanRow]) -> list[Target]:
    """Return what the rows ask for in the statistics of the cohort."""
    return [Target(row.disease, row.gender, row.age, row.skin_tone) for row in rows]


def write_plan(rows: Sequence[PlanRow], path: Path) -> None:
    """Write the plan as CSV; an unknown value is an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(PlanRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.model_dump().items()} for row in rows)
    atomic_write(path, buffer.getvalue())


def read_plan(path: Path) -> list[PlanRow]:
    """Read a plan; UserError names the row and column that is wrong."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; 'mema generate plan' writes it") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path}: not a CSV table in UTF-8") from None
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(PlanRow.model_validate({key: value or None for key, value in line.items()}))
        except (ValidationError, TypeError) as error:
            place = error.errors()[0]["loc"][0] if isinstance(error, ValidationError) else "cells"
            raise UserError(f"{path}: row {number}: {place} is wrong") from None
    if not rows:
        raise UserError(f"{path}: the plan has no rows")
    return rows


def _age_gap(rows: Sequence[PlanRow], used: Sequence[FaceRecord]) -> float:
    gaps = [
        abs(row.age - d.age) for row, d in zip(rows, used, strict=False) if row.age is not None and d.age is not None
    ]
    return float(np.mean(gaps)) if gaps else 0.0
