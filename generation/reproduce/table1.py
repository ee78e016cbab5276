"""MeMa Table 1: does injecting a public face cut the leakage of identity, and at which weight? Also: into whom?

``mema reproduce table1``. Beyond the paper: fixed donor weights beside U[0.2, 0.4], the share that strangers' photos
would explain, the donors' own leakage, intervals, and the difference from direct sampling row by row (every arm has the
same prompts, donors and noise).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np

from generation.plan import PlanRow
from generation.reproduce.arms import DIRECT, INJECTED, WEIGHTS, draw_rows, sample_arm, weight_name
from generation.reproduce.identity import Recognised, recognise
from generation.reproduce.settings import EffectsConfig, head, settings_of
from mema.build import Build
from mema.faces.leakage import Rate, leakage, rate
from mema.files import write_json
from mema.imageset import ImageSet
from mema.statistics import Estimate, difference, paired_difference
from mema.text import ABSENT, grid, percent, verdicts

# In percent.
PAPER = {
    DIRECT: {"sphereface": 73.45, "arcface": 76.72, "cosface": 65.34, "mean": 71.83},
    INJECTED: {"sphereface": 1.62, "arcface": 0.97, "cosface": 1.24, "mean": 1.27},
}
ARMS = (DIRECT, *map(weight_name, WEIGHTS), INJECTED)
NAMES = {DIRECT: "direct", INJECTED: "U[0.2, 0.4]"}


def table1(build: Build, samples: int | None = None) -> dict[str, Any]:
    """Run the experiment, write ``table1.json`` and return what it holds."""
    config = settings_of(build, samples)
    rows = draw_rows(build, config)
    arms = {name: sample_arm(build, rows, name) for name in ARMS}
    result = head(config) | {"paper": PAPER} | measure(build, arms, rows, config)
    write_json(build.reproduce / "table1.json", result)
    return result


def measure(
    build: Build, arms: Mapping[str, ImageSet], rows: Sequence[PlanRow], config: EffectsConfig
) -> dict[str, Any]:
    """Return the leakage of ``arms``, of which one is direct sampling, by every recogniser and in the mean.

    ``effects`` are differences from direct sampling, positive where donors take leakage of patients off and where they
    bring their own in.
    """
    found = {name: recognise(name, build, arms, rows, config) for name in config.recognisers}
    result = {
        "far": config.far,
        "recognisers": {name: of_recogniser(one) for name, one in found.items()},
        "mean": of_mean(list(found.values())),
    }
    return result | {"shows": shows(result)}


def of_recogniser(found: Recognised) -> dict[str, Any]:
    """Return threshold, leakage and effects as one recogniser sees them."""
    threshold = found.threshold
    patients, donors = ({arm: leakage(hits) for arm, hits in side.items()} for side in (found.patients, found.donors))
    return {
        "threshold": {
            "distance": threshold.distance,
            "interval": list(threshold.interval),
            "resolved": threshold.resolved,
        },
        "arms": {
            arm: {"patients": patients[arm].model_dump(mode="json"), "donors": donors[arm].model_dump(mode="json")}
            for arm in patients
        },
        "effects": {
            arm: {
                "raw": paired_difference(found.patients[DIRECT].ends[0], found.patients[arm].ends[0])._asdict(),
                "risk": rate_difference(patients[DIRECT].risk, patients[arm].risk),
                "donors": paired_difference(found.donors[arm].ends[0], found.donors[DIRECT].ends[0])._asdict(),
            }
            for arm in patients
            if arm != DIRECT
        },
    }


def of_mean(found: Sequence[Recognised]) -> dict[str, Any]:
    """Return the mean over recognisers of the raw leakage, and its effects.

    The intervals are as wide as if the recognisers always agreed.
    """
    rates = {arm: rate(np.mean([one.patients[arm].ends[0] for one in found], axis=0)) for arm in found[0].patients}
    return {
        "arms": {arm: one.model_dump(mode="json") for arm, one in rates.items()},
        "effects": {arm: rate_difference(rates[DIRECT], one) for arm, one in rates.items() if arm != DIRECT},
    }


def rate_difference(first: Rate | None, second: Rate | None) -> dict[str, float] | None:
    """Return first - second, with an interval that leaves out what the pairing explains; None if one is unknown."""
    if first is None or second is None:
        return None
    return difference(Estimate(**first.model_dump()), Estimate(**second.model_dump()))._asdict()


def shows(result: Mapping[str, Any]) -> dict[str, bool]:
    """Return for every recogniser, and the mean, whether donors at U[0.2, 0.4] cut leakage beyond chance."""
    effects = {name: one["effects"][INJECTED]["raw"] for name, one in result["recognisers"].items()}
    effects["mean"] = result["mean"]["effects"][INJECTED]
    return {f"donors cut leakage ({name})": effect["low"] > 0 for name, effect in effects.items()}


def text(result: Mapping[str, Any]) -> str:
    """Return the table beside the paper's."""
    found, mean = result["recognisers"], result["mean"]

    def paper(arm: str, name: str) -> str:
        value = PAPER[arm].get(name.removeprefix("phantom-"))
        return ABSENT if value is None else f"{value:.2f}"

    def part(title: str, group: str, *keys: str, with_mean: bool = False) -> list[list[str]]:
        rows = [[""], [title]]
        for arm, average in mean[group].items():
            cells = [percent(reduce(getitem, keys, one[group][arm])) for one in found.values()]
            rows.append([f"  {NAMES.get(arm, arm)}", *cells, percent(average) if with_mean else ""])
        return rows

    rows = [
        ["", *found, "mean"],
        ["the paper"],
        *([f"  {NAMES[arm]}", *(paper(arm, name) for name in (*found, "mean"))] for arm in PAPER),
        *part("near to a training patient", "arms", "patients", "raw", with_mean=True),
        *part("... beyond what as many controls explain", "arms", "patients", "risk"),
        *part("near to the donor of the row (direct: by chance)", "arms", "donors", "raw"),
        *part("... beyond what another donor explains", "arms", "donors", "risk"),
        *part("direct minus injected: near to a training patient", "effects", "raw", with_mean=True),
        *part("... beyond what as many controls explain", "effects", "risk"),
        *part("injected minus direct: near to the donor of the row", "effects", "donors"),
    ]
    lines = [
        f"Table 1 on: {result['population']}; {result['samples']} images an arm, the same prompts, donors and noise.",
        f"Percent with 95 % interval; thresholds at a false-accept rate of {result['far']:g}.",
        "",
        *grid(rows),
        "",
        *verdicts(result["shows"]),
    ]
    return "\n".join(lines)
