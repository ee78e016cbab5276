"""MeMa Figure 4: what fine-tuning, severity in the prompt and donors each do to the signs and to diversity.

``mema reproduce fig4`` samples the checkpoint as it came, fine-tuned, with severity in the prompt, and with donors too.
A judge says in how many samples it reads the disease asked for; within a disease, the Vendi score and the mean distance
of two samples show mode collapse and its cure; Fréchet distance, precision and recall say how like photos they are. The
figure becomes ``fig4.png``, on the private side: its samples are not audited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from generation.contact_sheet import write_contact_sheet
from generation.plan import PlanRow
from generation.reproduce.arms import DIRECT, INJECTED, PLAIN, VANILLA, batches_of, draw_rows, sample_arm
from generation.reproduce.diversity import MEASURES, Diversity, diversity, estimates
from generation.reproduce.features import SPACES, features_of
from generation.reproduce.likeness import STRANGERS, likeness
from generation.reproduce.likeness import table as likeness_table
from generation.reproduce.settings import head, private_output, settings_of
from mema.build import Build
from mema.faces.recognisers import unit
from mema.files import write_json
from mema.imageset import ImageSet
from mema.records import FaceRecord
from mema.statistics import paired_difference, wilson
from mema.taxonomy import load_taxonomy
from mema.text import grid, number, percent, verdicts
from mema.weights import find_weights

ARMS = (VANILLA, PLAIN, DIRECT, INJECTED)
NAMES = {
    VANILLA: "(a) as it came",
    PLAIN: "(b) fine-tuned",
    DIRECT: "    with severity",
    INJECTED: "(c) and donors",
}
PATIENTS = "patients"
SHEET = "fig4.png"


def fig4(build: Build, samples: int | None = None) -> dict[str, Any]:
    """Run the experiment, write ``fig4.json`` and ``fig4.png`` and return what the former holds."""
    config = settings_of(build, samples)
    rows = draw_rows(build, config)
    arms = {name: sample_arm(build, rows, name) for name in ARMS}
    cohort, controls = ImageSet.open(build.cohort), ImageSet.open(build.controls)
    reading = fidelity(arms, rows, config.judge)
    reading["arms"][PATIENTS] = read_photos(cohort, config.judge)
    spread, likenesses = {}, {}
    for space in SPACES:
        photos, others = (features_of(space, source, config) for source in (cohort, controls))
        made = {name: features_of(space, samples, config) for name, samples in arms.items()}
        spread[space] = spread_of(photos, made, rows, cohort.records())
        likenesses[space] = likeness(photos, made | {STRANGERS: others}, config.seed)
    result = head(config) | {
        "fidelity": reading,
        "diversity": spread,
        "likeness": likenesses,
        "shows": shows(reading, spread),
    }
    write_json(build.reproduce / "fig4.json", result)
    write_sheet(private_output(build, SHEET), "One plan, four ways (samples that nobody audited)", build, rows, arms)
    return result


def fidelity(arms: Mapping[str, ImageSet], rows: Sequence[PlanRow], judge: str) -> dict[str, Any]:
    """Return for each arm the share of samples in which the judge reads the disease asked for, all and by disease.

    ``effects``: by how much an arm exceeds the vanilla one, samples paired.
    """
    asked = np.array([row.disease for row in rows])
    right = {name: asked == read_diseases(samples, judge) for name, samples in arms.items()}

    def share(hits: np.ndarray) -> dict[str, float]:
        low, high = wilson(int(hits.sum()), len(hits))
        return {"value": float(hits.mean()), "low": low, "high": high}

    return {
        "arms": {
            name: {
                "top1": share(hits),
                "per_disease": {disease: share(hits[asked == disease]) for disease in sorted(set(asked.tolist()))},
            }
            for name, hits in right.items()
        },
        "effects": {
            name: paired_difference(hits, right[VANILLA])._asdict() for name, hits in right.items() if name != VANILLA
        },
    }


def read_photos(cohort: ImageSet, judge: str) -> dict[str, Any]:
    """Return the same of the patients' photos, without intervals: those of one patient are read alike."""
    truth = np.array([record.disease for record in cohort.records()])
    right = truth == read_diseases(cohort, judge)

    def exact(hits: np.ndarray) -> dict[str, float]:
        return dict.fromkeys(("value", "low", "high"), float(hits.mean()))

    diseases = sorted(set(truth.tolist()))
    return {"top1": exact(right), "per_disease": {disease: exact(right[truth == disease]) for disease in diseases}}


def read_diseases(source: ImageSet, judge: str) -> np.ndarray:
    """Return the disease that the judge finds likeliest in each image: (N,) of codes."""
    from mema.classifier import load, predict

    model = load(find_weights(judge))
    parts = [predict(model, images).argmax(axis=1) for images in batches_of(source, f"judge {source.path.name}")]
    return np.array(model.classes)[np.concatenate(parts)]


def spread_of(
    photos: np.ndarray, arms: Mapping[str, np.ndarray], rows: Sequence[PlanRow], cohort: Sequence[FaceRecord]
) -> dict[str, Any]:
    """Return the diversity of each arm's features (N, D), and of those of as many ``photos`` of the ``cohort``.

    Features are taken from the cohort's mean and scaled to unit length. ``effects``: by how much severity and donors
    raise it above the fine-tuned arm's.
    """
    diseases = [row.disease for row in rows]
    centre = photos.mean(axis=0)
    found = {arm: diversity(unit(features - centre), diseases) for arm, features in arms.items()}
    alike = like_the_plan(cohort, diseases)
    patients = None
    if alike is not None:
        patients = described(diversity(unit(photos[alike] - centre), sorted(diseases)))
    effects = {arm: estimates(found[arm], found[PLAIN]) for arm in (DIRECT, INJECTED)}
    return {
        "arms": {arm: described(one) for arm, one in found.items()} | {PATIENTS: patients},
        "effects": {arm: {key: one._asdict() for key, one in effect.items()} for arm, effect in effects.items()},
    }


def described(one: Diversity) -> dict[str, Any]:
    """Return a diversity as what the JSON holds."""
    values = {key: estimate._asdict() for key, estimate in estimates(one).items()}
    per_disease = {
        disease: dict(zip(MEASURES, measured.tolist(), strict=True)) for disease, measured in one.per_disease.items()
    }
    return values | {"per_disease": per_disease}


def like_the_plan(cohort: Sequence[FaceRecord], diseases: Sequence[str]) -> list[int] | None:
    """Return the rows of as many photos of each disease as the plan has, in the order of sorted ``diseases``.

    Different patients come first. None if there are not enough: diversity depends on how many are compared.
    """
    rank: Counter[str] = Counter()
    order: dict[str, list[tuple[int, int]]] = {}
    for row, record in enumerate(cohort):
        order.setdefault(record.disease or "", []).append((rank[record.subject_id], row))
        rank[record.subject_id] += 1
    chosen: list[int] = []
    for disease, count in sorted(Counter(diseases).items()):
        rows = [row for _, row in sorted(order.get(disease, []))[:count]]
        if len(rows) < count:
            return None
        chosen += rows
    return chosen


def shows(reading: Mapping[str, Any], spread: Mapping[str, Any]) -> dict[str, bool]:
    """Return which of the figure's claims hold with intervals that exclude no effect."""
    claims = {"fine-tuning brings the signs": reading["effects"][PLAIN]["low"] > 0}
    for space, found in spread.items():
        for measure in MEASURES:
            low = found["effects"][INJECTED][measure]["low"]
            claims[f"severity and donors raise diversity ({measure} of {space})"] = low > 0
    return claims


def text(result: Mapping[str, Any]) -> str:
    """Return the figure's numbers; the paper gives pictures only."""
    reading, spread = result["fidelity"], result["diversity"]
    arms, everyone = list(ARMS), [*ARMS, PATIENTS]
    diseases = list(reading["arms"][VANILLA]["per_disease"])
    rows = [["", *(NAMES[arm].strip() for arm in arms), PATIENTS], ["the judge reads the disease asked for, %"]]
    rows.append(["  all", *(percent(reading["arms"][one]["top1"]) for one in everyone)])
    for code in diseases:
        rows.append([f"  {code}", *(percent(reading["arms"][one]["per_disease"].get(code), 0) for one in everyone)])
    rows.append(["  above (a)", *(percent(reading["effects"].get(arm)) for arm in arms), ""])
    for space, found in spread.items():
        for measure in MEASURES:
            title = "effective number (Vendi score)" if measure == "vendi" else "mean distance"
            rows += [[""], [f"diversity of {space} within a disease: {title}"]]
            means = (found["arms"][one] for one in everyone)
            rows.append(["  mean", *(number(mean and mean[measure], 2) for mean in means)])
            effects = [found["effects"].get(arm) for arm in arms]
            rows.append(["  above (b)", *(number(one and one[measure], 2) for one in effects), ""])
    rows += likeness_table(result["likeness"], [*arms, STRANGERS])
    lines = [
        f"Figure 4 on: {result['population']}; {result['samples']} images an arm; with 95 % intervals.",
        "",
        *grid(rows),
        "",
        *verdicts(result["shows"]),
    ]
    return "\n".join(lines)


def write_sheet(path: Path, title: str, build: Build, rows: Sequence[PlanRow], arms: Mapping[str, ImageSet]) -> Path:
    """Write a contact sheet with a row for each disease and arm; one column is one row of the plan."""
    taxonomy = load_taxonomy(build.clinic)
    asked = {row.disease for row in rows}
    images = {name: samples.images() for name, samples in arms.items()}
    pictures = {
        f"{taxonomy.disease(code).name} {name}": [
            image for row, image in zip(rows, images[name], strict=True) if row.disease == code
        ]
        for code in taxonomy.codes
        if code in asked
        for name in arms
    }
    return write_contact_sheet(path, title, pictures, side=96)
