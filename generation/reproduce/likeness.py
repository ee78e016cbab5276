"""How like real photos are the samples? Fréchet distance, precision and recall in the features of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mema.feature_distances import frechet_distance, precision_recall
from mema.text import ABSENT

STRANGERS = "controls"
"""Patients whom no model was trained on: what the best generator could reach."""


def likeness(photos: np.ndarray, others: Mapping[str, np.ndarray], seed: int) -> dict[str, dict[str, float] | None]:
    """Return distance, precision and recall of each of ``others`` (M, D) against ``photos`` (N, D).

    The distance is biased by the number of images: it is measured on as many of each as the smallest set has, drawn
    by ``seed``. None where three neighbours are more than there are images.
    """
    fewest = min(len(photos), *map(len, others.values()))
    if fewest <= 3:
        return dict.fromkeys(others)
    rng = np.random.default_rng(seed)

    def drawn(features: np.ndarray) -> np.ndarray:
        return features[np.sort(rng.permutation(len(features))[:fewest])]

    real = drawn(photos)
    return {name: _compare(real, drawn(features)) for name, features in others.items()}


def _compare(real: np.ndarray, made: np.ndarray) -> dict[str, float]:
    return {"frechet": frechet_distance(real, made), **precision_recall(real, made)._asdict()}


def table(found: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> list[list[str]]:
    """Return the measures of every space as rows of cells; the last of ``columns`` is named in the heading."""
    rows = []
    for space, by_set in found.items():
        rows += [[""], [f"against patients' photos, in the features of {space} (last column: {columns[-1]})"]]
        for key, title in (("frechet", "Fréchet distance"), ("precision", "precision"), ("recall", "recall")):
            cells = (by_set[column] for column in columns)
            rows.append([f"  {title}", *(ABSENT if cell is None else f"{cell[key]:.3f}" for cell in cells)])
    return rows
