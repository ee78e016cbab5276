"""Does generation do what the paper says? Figure 4, Table 1 and Table 2, measured anew.

``mema generate effects --config configs/demo.yaml`` samples one plan three times (the checkpoint as it came;
fine-tuned, without donors; fine-tuned, with donors) and writes ``effects.json`` and a contact sheet. On the phantom
hospital it is a check of the method on people who do not exist, never a clinical result.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from generation.contact_sheet import write_contact_sheet
from generation.finetune import FinetuneConfig
from generation.leakage import Leakage, measure_leakage
from generation.plan import PAPER_DISTANCES, PlanConfig, PlanRow, make_plan
from generation.quotas import Target, distances
from generation.sample import SampleConfig, embed_donors, sample_rows
from mema.build import Build
from mema.config import Config
from mema.diffusion.checkpoint import Generator, find_weights, load_pipeline
from mema.files import git_hash, hardware, write_json
from mema.imageset import ImageSet
from mema.records import FaceRecord
from mema.statistics import wilson
from mema.taxonomy import load_taxonomy

RESULT, SHEET = "effects.json", "effects.png"
VANILLA, DIRECT, INJECTED = "vanilla", "direct", "injected"

# MeMa Table 1, in percent: SphereFace, ArcFace, CosFace and their mean.
PAPER_LEAKAGE = {DIRECT: (73.45, 76.72, 65.34, 71.83), INJECTED: (1.62, 0.97, 1.24, 1.27)}
ACCEPT_BEFORE, ACCEPT_AFTER, ACCEPT_RATIO, ACCEPT_DISTANCE = 0.25, 0.75, 5.0, 0.003


class EffectsConfig(Config):
    """``samples`` of each kind; ``judge`` reads diseases; a face leaks below the distance of false-accept rate ``far``.

    ``population`` says in the report who the patients are.
    """

    samples: int = Field(default=160, ge=1)
    judge: str = "phantom-judge/eye_clinic"
    recognisers: tuple[str, ...] = ("phantom-sphereface", "phantom-arcface", "phantom-cosface", "dlib")
    far: float = Field(default=1e-4, gt=0, lt=1)
    population: str = "phantom hospital (rendered people, not patients)"
    seed: int = 0


def effects(build: Build) -> dict[str, Any]:
    """Run the experiment, write ``Build.effects`` and return what ``effects.json`` holds."""
    config = build.section("effects", EffectsConfig)
    cohort, controls = ImageSet.open(build.cohort), ImageSet.open(build.controls)
    donors = ImageSet.open(build.donors)
    taxonomy = load_taxonomy(build.clinic)
    plan = build.section("plan", PlanConfig).model_copy(update={"count": config.samples, "seed": config.seed})
    rows = make_plan(cohort.records(), donors.records(), taxonomy, plan)
    images = sample_kinds(build, rows, donors)
    result = {
        "population": config.population,
        "samples": len(rows),
        "fidelity": judge_kinds(images, rows, config.judge),
        "leakage": {name: leakage_of(name, images, cohort, controls, config) for name in config.recognisers},
        "distances": plan_distances(rows, cohort.records(), donors.records(), config.seed),
        "git_hash": git_hash(),
        "hardware": hardware(),
    }
    result["accepted"] = accepted(result)
    write_json(build.effects / RESULT, result)
    _write_sheet(build, rows, images)
    return result


def sample_kinds(build: Build, rows: list[PlanRow], donors: ImageSet) -> dict[str, np.ndarray]:
    """Return the rows' images, uint8 (N, H, W, 3), from the plain checkpoint, fine-tuned, and with donors."""
    config = build.section("sample", SampleConfig)
    checkpoint = build.section("finetune", FinetuneConfig).checkpoint
    without = [row.model_copy(update={"donor_id": None, "donor_weight": None}) for row in rows]
    vanilla = load_pipeline(Generator(checkpoint))
    tuned = load_pipeline(Generator(checkpoint, build.lora, config.adapter, config.adapter_file))
    faces = embed_donors(tuned, donors, rows)
    return {
        VANILLA: sample_rows(vanilla, without, {}, size=build.size, config=config),
        DIRECT: sample_rows(tuned, without, {}, size=build.size, config=config),
        INJECTED: sample_rows(tuned, rows, faces, size=build.size, config=config),
    }


def judge_kinds(images: dict[str, np.ndarray], rows: list[PlanRow], judge: str) -> dict[str, Any]:
    """Return for each kind the share of images in which the judge reads the prompted disease (Figure 4)."""
    from mema.classifier import load, predict

    model = load(find_weights(judge))
    report = {}
    for kind, faces in images.items():
        read = [model.classes[i] for i in predict(model, faces).argmax(axis=1)]
        right = [row.disease == disease for row, disease in zip(rows, read, strict=True)]
        low, high = wilson(sum(right), len(right))
        asked = Counter(row.disease for row in rows)
        hit = Counter(row.disease for row, reads in zip(rows, right, strict=True) if reads)
        report[kind] = {
            "top1": float(np.mean(right)),
            "low": low,
            "high": high,
            "per_disease": {disease: hit[disease] / asked[disease] for disease in sorted(asked)},
        }
    return report


def leakage_of(
    name: str, images: dict[str, np.ndarray], cohort: ImageSet, controls: ImageSet, config: EffectsConfig
) -> dict[str, Any]:
    """Return one recogniser's threshold and the leakage of direct and injected sampling (Table 1)."""
    from mema.faces.recognisers import recogniser
    from mema.faces.thresholds import calibrate

    instrument = recogniser(name)
    patients, others = instrument.embed(cohort.images()).vectors, instrument.embed(controls.images()).vectors
    subjects = [record.subject_id for record in cohort.records()]
    strangers = [record.subject_id for record in controls.records()]
    threshold = calibrate(np.concatenate([patients, others]), subjects + strangers, config.far, pairs="all")
    measured: dict[str, Leakage] = {
        kind: measure_leakage(
            instrument.embed(images[kind]).vectors, patients, subjects, others, threshold.distance, seed=config.seed
        )
        for kind in (DIRECT, INJECTED)
    }
    return {
        "threshold": {"distance": threshold.distance, "far": config.far, "interval": list(threshold.interval)},
        **{kind: {k: v._asdict() for k, v in leakage._asdict().items()} for kind, leakage in measured.items()},
    }


def plan_distances(
    rows: list[PlanRow], cohort: list[FaceRecord], donors: list[FaceRecord], seed: int
) -> dict[str, dict[str, float | None]]:
    """Return the distances to the cohort of the plan and of random sampling (Table 2).

    Random: a disease drawn uniformly, and the age and gender of a donor drawn uniformly.
    """
    random = np.random.default_rng(seed)
    diseases = sorted({record.disease or "" for record in cohort})
    drawn = [
        Target(diseases[random.integers(len(diseases))], donor.gender, donor.age, donor.skin_tone)
        for donor in (donors[random.integers(len(donors))] for _ in rows)
    ]
    planned = [Target(row.disease, row.gender, row.age, row.skin_tone) for row in rows]
    return {"random": distances(drawn, cohort)._asdict(), "guided": distances(planned, cohort)._asdict()}


def accepted(result: dict[str, Any]) -> dict[str, bool]:
    """Return which of the paper's effects show: in the judge's reading, in each recogniser's leakage, in the plan."""
    fidelity = result["fidelity"]
    verdicts = {
        "signs appear by fine-tuning": fidelity[VANILLA]["top1"] <= ACCEPT_BEFORE
        and fidelity[DIRECT]["top1"] >= ACCEPT_AFTER,
        "the plan follows the cohort": all(
            value is not None and value <= ACCEPT_DISTANCE for value in result["distances"]["guided"].values()
        ),
    }
    for name, leakage in result["leakage"].items():
        direct, injected = (leakage[kind]["raw"]["value"] for kind in (DIRECT, INJECTED))
        verdicts[f"donors cut leakage ({name})"] = direct > 0 and direct >= ACCEPT_RATIO * injected
    return verdicts


def table(result: dict[str, Any]) -> str:
    """Return the comparison with the paper as lines of text."""

    def percent(rate: dict[str, float]) -> str:
        return f"{100 * rate['value']:5.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"

    lines = [f"measured on: {result['population']}; {result['samples']} images of each kind", ""]
    lines.append("Figure 4: the judge reads the prompted disease in")
    for kind, value in result["fidelity"].items():
        lines.append(f"  {kind:10} {percent({**value, 'value': value['top1']})}")
    direct, injected = (PAPER_LEAKAGE[kind][-1] for kind in (DIRECT, INJECTED))
    lines += ["", f"Table 1: nearest to a training patient (paper: direct {direct} %, injected {injected} %)"]
    for name, leakage in result["leakage"].items():
        for kind in (DIRECT, INJECTED):
            rates = leakage[kind]
            raw, beyond = percent(rates["raw"]), percent(rates["normalised"])
            lines.append(f"  {name:20} {kind:9} raw {raw}  beyond controls {beyond}")
    lines += ["", "Table 2: distance to the cohort (paper in brackets)"]
    for name, value in result["distances"].items():
        paper = PAPER_DISTANCES[name]._asdict()
        cells = (f"{key} {'-' if v is None else f'{v:.4f}'} ({paper[key]})" for key, v in value.items())
        lines.append(f"  {name:8} " + "  ".join(cells))
    lines += ["", *(f"{'yes' if holds else 'NO ':3}  {claim}" for claim, holds in result["accepted"].items())]
    return "\n".join(lines)


def _write_sheet(build: Build, rows: list[PlanRow], images: dict[str, np.ndarray]) -> Path:
    taxonomy = load_taxonomy(build.clinic)
    pictures = {
        f"{taxonomy.disease(code).name} {kind}": [
            image for row, image in zip(rows, faces, strict=True) if row.disease == code
        ]
        for code in taxonomy.codes
        for kind, faces in images.items()
    }
    return write_contact_sheet(build.effects / SHEET, "Same prompts and seeds, three ways", pictures)
