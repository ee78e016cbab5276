"""MeMa Table 2: how far from the patients' distribution are random and guided sampling?

``mema reproduce table2``. It draws no image: what is asked for is compared with the cohort. Beyond the paper: intervals
over the random draws, the joint distribution, patients drawn by chance, and the guided plan as its donors realise it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from generation.plan import PAPER_DISTANCES, PlanConfig, PlanRow, targets_of
from generation.quotas import Target, distances, joint_distance
from generation.reproduce.arms import draw_rows
from generation.reproduce.settings import head, settings_of
from mema.build import Build
from mema.files import write_json
from mema.imageset import ImageSet
from mema.records import FaceRecord
from mema.text import ABSENT, grid, number, verdicts

RANDOM, CHANCE, GUIDED, REALISED = "random", "chance", "guided", "realised"
NAMES = {
    RANDOM: "random: any disease, any donor",
    CHANCE: "patients drawn by chance",
    GUIDED: "guided by quotas",
    REALISED: "guided, as its donors are",
}
KEYS = ("disease", "age", "gender", "joint")
DRAWS = 500


def table2(build: Build, samples: int | None = None) -> dict[str, Any]:
    """Run the experiment, write ``table2.json`` and return what it holds; ``samples`` defaults to the plan's count."""
    config = settings_of(build, samples or build.section("plan", PlanConfig).count)
    cohort, donors = (ImageSet.open(path).records() for path in (build.cohort, build.donors))
    measured = measure(draw_rows(build, config), cohort, donors, config.seed)
    paper = {name: value._asdict() for name, value in PAPER_DISTANCES.items()}
    result = head(config) | {"paper": paper} | measured
    write_json(build.reproduce / "table2.json", result)
    return result


def measure(
    rows: Sequence[PlanRow], cohort: Sequence[FaceRecord], donors: Sequence[FaceRecord], seed: int
) -> dict[str, Any]:
    """Return the distances of as many targets as ``rows`` by every strategy: mean and 95 % interval over draws.

    Quotas leave nothing to luck, so the guided ones are exact. ``effects``: random minus guided. An attribute that the
    cohort lacks is None.
    """
    random = np.random.default_rng(seed)
    by_id = {donor.image_id: donor for donor in donors}
    used = [(row, by_id[row.donor_id]) for row in rows if row.donor_id is not None]
    realised = [Target(row.disease, donor.gender, donor.age, donor.skin_tone) for row, donor in used]
    drawn = {
        RANDOM: repeat(lambda: any_disease(cohort, donors, len(rows), random), cohort),
        CHANCE: repeat(lambda: [cohort[i] for i in random.integers(len(cohort), size=len(rows))], cohort),
    }
    exact = {GUIDED: distances_of(targets_of(rows), cohort), REALISED: distances_of(realised, cohort)}
    strategies = {name: {key: interval(values) for key, values in one.items()} for name, one in drawn.items()}
    strategies |= {name: {key: interval([value]) for key, value in one.items()} for name, one in exact.items()}
    effects = {}
    for key, values in drawn[RANDOM].items():
        guided = exact[GUIDED][key]
        effects[key] = None if guided is None else interval([one - guided for one in values if one is not None])
    claims = {f"quotas come nearer ({key})": effect["low"] > 0 for key, effect in effects.items() if effect is not None}
    return {"strategies": strategies, "effects": effects, "shows": claims}


def any_disease(
    cohort: Sequence[FaceRecord], donors: Sequence[FaceRecord], count: int, random: np.random.Generator
) -> list[Target]:
    """Draw targets as unguided sampling does: every disease equally likely, age and gender of a random donor."""
    diseases = sorted({record.disease or "" for record in cohort})
    faces = [donors[i] for i in random.integers(len(donors), size=count)]
    codes = [diseases[i] for i in random.integers(len(diseases), size=count)]
    return [Target(code, face.gender, face.age, face.skin_tone) for code, face in zip(codes, faces, strict=True)]


def repeat(
    draw: Callable[[], Sequence[Target] | Sequence[FaceRecord]], cohort: Sequence[FaceRecord]
) -> dict[str, list[float | None]]:
    """Return each distance of 500 draws to the cohort."""
    found = [distances_of(draw(), cohort) for _ in range(DRAWS)]
    return {key: [one[key] for one in found] for key in KEYS}


def distances_of(
    people: Sequence[Target] | Sequence[FaceRecord], cohort: Sequence[FaceRecord]
) -> dict[str, float | None]:
    """Return the marginal distances and the joint one."""
    return {**distances(people, cohort)._asdict(), "joint": joint_distance(people, cohort)}


def interval(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return the mean and the central 95 % of ``values``; None where they are unknown."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return {"value": float(np.mean(known)), "low": float(low), "high": float(high)}


def text(result: Mapping[str, Any]) -> str:
    """Return the table beside the paper's."""
    paper = result["paper"]

    def cells(values: Mapping[str, Any]) -> list[str]:
        return [number(values[key], 4) for key in KEYS]

    def paper_cells(name: str) -> list[str]:
        return [f"{paper[name][key]:.3f}" if key in paper[name] else ABSENT for key in KEYS]

    lines = [
        f"Table 2 on: {result['population']}; {result['samples']} images.",
        "Distance to the patients: total variation of disease, gender and the joint distribution (disease x gender x",
        "decade of age x group of skin tones), W1 / 85 years of age; mean and central 95 % of the random draws.",
        "",
        *grid(
            [
                ["", *KEYS],
                ["the paper: random", *paper_cells("random")],
                ["the paper: guided", *paper_cells("guided")],
                *([NAMES[name], *cells(values)] for name, values in result["strategies"].items()),
                ["random minus guided", *cells(result["effects"])],
            ]
        ),
        "",
        *verdicts(result["shows"]),
    ]
    return "\n".join(lines)
