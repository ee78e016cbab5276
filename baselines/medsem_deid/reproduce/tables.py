"""Train, measure and compare variants of MedSem-DeID: Tables 9 and 10, and Figure 8, beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any, NamedTuple

import numpy as np

from baselines.medsem_deid.reproduce.scores import ID_DIS, RECOVERED, TOP1, Scores, scores_of, scores_of_originals
from baselines.medsem_deid.reproduce.settings import Experiments, Variant, parameters_of
from baselines.medsem_deid.reproduce.variants import METHOD, train_variant
from baselines.medsem_deid.settings import MedSemParameters
from mema.build import Build
from mema.claims import Claim
from mema.files import git_hash, hardware
from mema.paper import paper
from mema.release import Release
from mema.statistics import Estimate, clustered_bootstrap, wilson

ABLATIONS = (
    ("the release instead of donors raises top-1 (M2 over M1)", "M2", "M1"),
    ("f_med raises top-1 (M3 over M2)", "M3", "M2"),
    ("L_med raises top-1 (M4 over M2)", "M4", "M2"),
    ("both are above f_med alone (Ours over M3)", "Ours", "M3"),
    ("both are above L_med alone (Ours over M4)", "Ours", "M4"),
)
ENCODERS = (
    ("filling in patches is above naming the disease (MAE over supervised)", "ViT (MAE)", "ViT (supervised)"),
    ("diffusion is above filling in patches (over MAE)", "Diffusion", "ViT (MAE)"),
)


class Row(NamedTuple):
    """A variant: its ``name`` in the paper, what it was trained with, for how long and to which scores.

    ``folder`` is where its training for the first seed is kept; ``spread`` the standard deviation of its top-1 over
    seeds, None for one seed.
    """

    name: str
    parameters: MedSemParameters
    iterations: int
    folder: str
    scores: Scores
    spread: float | None


class Sheet(NamedTuple):
    """A table of variants: ``name`` in ``mema/paper.yaml``, and ``originals``, the scores of the photos themselves."""

    name: str
    rows: list[Row]
    claims: list[Claim]
    originals: Scores
    subjects: list[str]
    release: Release


def table9(build: Build, experiments: Experiments) -> list[Sheet]:
    """Return the ablations."""
    return [_sheet("table9", build, experiments, experiments.table9, ABLATIONS)]


def table10(build: Build, experiments: Experiments) -> list[Sheet]:
    """Return the encoders."""
    return [_sheet("table10", build, experiments, experiments.table10, ENCODERS)]


def fig8(build: Build, experiments: Experiments) -> list[Sheet]:
    """Return the sweep of the medical loss, then that of the recovery loss."""
    distance = f"{ID_DIS}.{experiments.recognisers[0]}"
    sheets = []
    for loss, values, score, title, digits in (
        ("medical", experiments.fig8_medical, TOP1, "top-1", 1),
        ("recover", experiments.fig8_recover, RECOVERED, "the recovered photo's PSNR", 2),
    ):
        variants = {f"{value:g}": Variant(changes={"loss": {loss: value}}) for value in values}
        sheet = _sheet(f"fig8-{loss}", build, experiments, variants, ())
        weights = slope_weights(values)
        scale = 100 if score == TOP1 else 1
        claims = [
            contrast(f"{title} rises with the weight", sheet, score, weights, scale, digits),
            contrast("ID-Dis falls with the weight", sheet, distance, -weights, 1, 3),
        ]
        sheets.append(sheet._replace(claims=[claim._replace(remark="per tenfold weight") for claim in claims]))
    return sheets


def slope_weights(values: Sequence[float]) -> np.ndarray:
    """Return weights (V,) whose product with a score at each of ``values`` is its slope per tenfold, by least squares.

    A contrast of all points, so that a sweep is one test however many values it has.
    """
    centred = np.array([log10(value) for value in values])
    centred = centred - centred.mean()
    weights: np.ndarray = centred / np.square(centred).sum()
    return weights


def estimate(values: np.ndarray, subjects: Sequence[str], *, share: bool = False) -> Estimate:
    """Return the mean of ``values`` (N,) with its 95 % interval over subjects.

    Where a ``share`` is exactly 0 or 1 a bootstrap has no width; then it is Wilson's interval over subjects.
    """
    if share and (values == values[0]).all() and values[0] in (0.0, 1.0):
        trials = len(set(subjects))
        return Estimate(float(values[0]), *wilson(trials * int(values[0]), trials))
    return Estimate(float(values.mean()), *clustered_bootstrap(values, subjects))


def estimates(scores: Mapping[str, np.ndarray], subjects: Sequence[str]) -> dict[str, Estimate]:
    """Return the estimate of each score."""
    return {name: estimate(column, subjects, share=name == TOP1) for name, column in scores.items()}


def contrast(text: str, sheet: Sheet, score: str, weights: np.ndarray, scale: float, digits: int) -> Claim:
    """Return the claim that the sum of the rows' scores, weighted, is above zero; paired by photo."""
    values = weights @ np.stack([row.scores[score] for row in sheet.rows])
    return Claim(text, estimate(values, sheet.subjects), "", scale, digits)


def as_json(sheets: Sequence[Sheet], experiments: Experiments) -> dict[str, Any]:
    """Return what the JSON holds."""
    release = sheets[0].release
    return {
        "release": {"name": release.name, "version": release.version, "digest": release.digest},
        "git_hash": git_hash(),
        "hardware": hardware(),
        "experiments": experiments.model_dump(mode="json"),
        "sheets": {
            sheet.name: {
                "paper": paper().tables[sheet.name].model_dump(mode="json"),
                "originals": {TOP1: estimate(sheet.originals[TOP1], sheet.subjects, share=True)._asdict()},
                "ours": {
                    row.name: {
                        "folder": row.folder,
                        "iterations": row.iterations,
                        "parameters": row.parameters.model_dump(mode="json"),
                        "spread": row.spread,
                        "scores": {
                            name: found._asdict() for name, found in estimates(row.scores, sheet.subjects).items()
                        },
                    }
                    for row in sheet.rows
                },
                "claims": [claim.as_json() for claim in sheet.claims],
            }
            for sheet in sheets
        },
    }


def _sheet(
    name: str,
    build: Build,
    experiments: Experiments,
    variants: Mapping[str, Variant],
    claims: Sequence[tuple[str, str, str]],
) -> Sheet:
    """Train and measure ``variants``; each of ``claims`` says that one of them reads more diseases than another."""
    release = Release.open(build.release)
    photos = release.imageset("validation")
    subjects = [record.subject_id for record in photos.records()]
    rows = []
    for variant_name, variant in variants.items():
        trained = [
            train_variant(build, variant, parameters_of(experiments, variant, seed)) for seed in experiments.seeds
        ]
        each = [scores_of(one, photos, experiments) for one in trained]
        spread = float(np.std([one[TOP1].mean() for one in each], ddof=1)) if len(each) > 1 else None
        first = trained[0]
        mean = {score: np.mean([one[score] for one in each], axis=0) for score in each[0]}
        rows.append(Row(variant_name, first.parameters, first.iterations, str(first.folder), mean, spread))
    originals = scores_of_originals(build.reproduce / METHOD, photos, experiments)
    sheet = Sheet(name, rows, [], originals, subjects, release)
    made = {row.name: place for place, row in enumerate(rows)}
    found = []
    for text, more, less in claims:
        if more in made and less in made:
            weights = np.zeros(len(rows))
            weights[made[more]], weights[made[less]] = 1, -1
            found.append(contrast(text, sheet, TOP1, weights, 100, 1))
        else:
            found.append(Claim(text, None))
    return sheet._replace(claims=found)
