"""How many generated faces are a training patient's: the measure of MeMa Table 1, with its blind spots closed.

The paper states neither threshold nor baseline. Here the threshold is calibrated on people known to be different, and
the rate is also given relative to patients whom no model was trained on, since among many photos somebody is near by
chance (control normalisation as in Anonymeter, Giomi et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mema.faces.matching import nearest
from mema.statistics import wilson


class Rate(NamedTuple):
    """A share in [0, 1] and its 95 % Wilson interval."""

    value: float
    low: float
    high: float


class Leakage(NamedTuple):
    """Leakage of one set of probes.

    ``raw``: share of probes nearer than the threshold to a photo of a training patient. ``attack`` and ``control``: the
    same against as many photos of training patients as there are of controls, and against the controls' photos.
    ``normalised``: (attack - control) / (1 - control), what training explains beyond resemblance; at least 0.
    """

    raw: Rate
    attack: Rate
    control: Rate
    normalised: Rate


def measure_leakage(
    probes: np.ndarray,
    patients: np.ndarray,
    subjects: Sequence[str],
    controls: np.ndarray,
    threshold: float,
    *,
    draws: int = 20,
    seed: int = 0,
) -> Leakage:
    """Measure unit vectors ``probes`` (N, D) against ``patients`` (M, D) of ``subjects`` (M,) and ``controls`` (K, D).

    ``attack`` is the mean over ``draws`` random choices of patients whose photos are as many as the controls' photos
    (to within one patient), because a bigger gallery matches more by its size alone.
    """
    trials = len(probes)
    raw = _share(probes, patients, threshold)
    control = _share(probes, controls, threshold)
    names = np.array(subjects)
    random = np.random.default_rng(seed)
    shares = []
    for _ in range(draws):
        order = random.permutation(np.unique(names))
        sizes = np.cumsum([np.sum(names == name) for name in order])
        kept = order[: max(1, int(np.searchsorted(sizes, len(controls), side="right")))]
        shares.append(_share(probes, patients[np.isin(names, kept)], threshold))
    attack = _rate(float(np.mean(shares)), trials)
    control_rate = _rate(control, trials)
    room = max(1 - control, 1e-9)
    values = [max(0.0, (value - control) / room) for value in attack]
    return Leakage(_rate(raw, trials), attack, control_rate, Rate(*values))


def _share(probes: np.ndarray, gallery: np.ndarray, threshold: float) -> float:
    if len(gallery) == 0:
        return 0.0
    return float(np.mean(nearest(probes, gallery)[1] < threshold))


def _rate(share: float, trials: int) -> Rate:
    return Rate(share, *wilson(round(share * trials), trials))
