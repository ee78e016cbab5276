"""Does generation do what the paper says? The quick check: ``mema reproduce table1``, ``table2`` and ``fig4`` in small.

``mema generate effects --config configs/demo.yaml`` samples one plan three times (the checkpoint as it came;
fine-tuned, without donors; fine-tuned, with donors), says which of the project's goals are met, and writes
``effects.json`` and, on the private side since nobody audited it, a contact sheet. On the phantom hospital it is a
check of the method on people who do not exist, never a clinical result.
"""

from __future__ import annotations

from typing import Any

from generation.plan import PAPER_DISTANCES
from generation.reproduce.arms import DIRECT, INJECTED, VANILLA, draw_rows, sample_arm
from generation.reproduce.fig4 import fidelity, write_sheet
from generation.reproduce.settings import EffectsConfig, head, private_output
from generation.reproduce.table1 import PAPER, measure
from generation.reproduce.table2 import measure as measure_distances
from mema.build import Build
from mema.files import write_json
from mema.imageset import ImageSet
from mema.text import percent, verdicts

RESULT, SHEET = "effects.json", "effects.png"
ACCEPT_BEFORE, ACCEPT_AFTER, ACCEPT_RATIO, ACCEPT_DISTANCE = 0.25, 0.75, 5.0, 0.003


def effects(build: Build) -> dict[str, Any]:
    """Run the experiment, write ``Build.effects`` and return what ``effects.json`` holds."""
    config = build.section("effects", EffectsConfig)
    rows = draw_rows(build, config)
    arms = {name: sample_arm(build, rows, name) for name in (VANILLA, DIRECT, INJECTED)}
    reading = fidelity(arms, rows, config.judge)["arms"]
    leakage = measure(build, {name: arms[name] for name in (DIRECT, INJECTED)}, rows, config)
    cohort, donors = (ImageSet.open(path).records() for path in (build.cohort, build.donors))
    strategies = measure_distances(rows, cohort, donors, config.seed)["strategies"]
    result = head(config) | {
        "fidelity": {
            name: {
                "top1": one["top1"]["value"],
                "low": one["top1"]["low"],
                "high": one["top1"]["high"],
                "per_disease": {disease: share["value"] for disease, share in one["per_disease"].items()},
            }
            for name, one in reading.items()
        },
        "leakage": {
            name: {"threshold": one["threshold"], **{arm: one["arms"][arm]["patients"] for arm in one["arms"]}}
            for name, one in leakage["recognisers"].items()
        },
        "distances": {
            name: {key: (one := strategies[name][key]) and one["value"] for key in ("disease", "age", "gender")}
            for name in ("random", "guided")
        },
    }
    result["accepted"] = accepted(result)
    write_json(build.effects / RESULT, result)
    write_sheet(private_output(build, SHEET), "Same prompts and seeds, three ways", build, rows, arms)
    return result


def accepted(result: dict[str, Any]) -> dict[str, bool]:
    """Return which of the paper's effects show: in the judge's reading, in each recogniser's leakage, in the plan.

    Donors cut leakage if it falls by ``ACCEPT_RATIO`` and the two intervals lie apart: one image more or less is luck.
    """
    fidelity = result["fidelity"]
    claims = {
        "signs appear by fine-tuning": fidelity[VANILLA]["top1"] <= ACCEPT_BEFORE
        and fidelity[DIRECT]["top1"] >= ACCEPT_AFTER,
        "the plan follows the cohort": all(
            value is not None and value <= ACCEPT_DISTANCE for value in result["distances"]["guided"].values()
        ),
    }
    for name, leakage in result["leakage"].items():
        direct, injected = (leakage[kind]["raw"] for kind in (DIRECT, INJECTED))
        claims[f"donors cut leakage ({name})"] = (
            direct["value"] >= ACCEPT_RATIO * injected["value"] and direct["low"] > injected["high"]
        )
    return claims


def table(result: dict[str, Any]) -> str:
    """Return the comparison with the paper as lines of text."""
    lines = [f"measured on: {result['population']}; {result['samples']} images of each kind", ""]
    lines.append("Figure 4: the judge reads the prompted disease in")
    for kind, value in result["fidelity"].items():
        lines.append(f"  {kind:10} {percent({**value, 'value': value['top1']})} %")
    direct, injected = (PAPER[kind]["mean"] for kind in (DIRECT, INJECTED))
    lines += ["", f"Table 1: nearest to a training patient (paper: direct {direct} %, injected {injected} %)"]
    for name, leakage in result["leakage"].items():
        for kind in (DIRECT, INJECTED):
            raw, beyond = percent(leakage[kind]["raw"]), percent(leakage[kind]["risk"])
            lines.append(f"  {name:20} {kind:9} raw {raw} %  beyond controls {beyond} %")
    lines += ["", "Table 2: distance to the cohort (paper in brackets)"]
    for name, value in result["distances"].items():
        paper = PAPER_DISTANCES[name]._asdict()
        cells = (f"{key} {'-' if v is None else f'{v:.4f}'} ({paper[key]})" for key, v in value.items())
        lines.append(f"  {name:8} " + "  ".join(cells))
    return "\n".join([*lines, "", *verdicts(result["accepted"])])
