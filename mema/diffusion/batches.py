"""Which photos a training step sees: a function of the seed and the step's number, so a killed run can go on.

Photos of one subject are either all trained on or all held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mema.diffusion.settings import TrainingSettings
from mema.errors import UserError

# Keys of the random streams under one seed.
ORDER, VIEW, CLASS, WITHIN, HOLD = 1, 2, 4, 5, 6


class Batch(NamedTuple):
    """Photos (int), their views (int) and whether the caption is dropped (bool), each (batch,)."""

    photos: np.ndarray
    views: np.ndarray
    dropped: np.ndarray


def draw_batch(settings: TrainingSettings, step: int, rows: np.ndarray, classes: np.ndarray, views: int) -> Batch:
    """Return the batch of ``step``: photos out of ``rows`` (int), each in one of its ``views``.

    ``classes`` (int, as long as ``rows``) are the diseases; they matter when ``balance`` is "disease".
    """
    places = range(step * settings.batch, (step + 1) * settings.batch)
    if settings.balance == "disease":
        photos = _balanced(settings.seed, places, rows, classes)
    else:
        photos = rows[_passes([settings.seed, ORDER], places, len(rows))]
    random = np.random.default_rng([settings.seed, VIEW, step])
    view, dropped = random.integers(views, size=len(photos)), random.random(len(photos)) < settings.caption_dropout
    return Batch(photos, view, dropped)


def hold_out(subjects: Sequence[int], classes: Sequence[int], share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the photos to train on and those held out, both int and ascending, with no subject on both sides.

    ``subjects`` and ``classes`` (a number each per photo) say whose a photo is and of which disease; subjects are
    held out in proportion to the diseases. UserError when ``share`` of the subjects is none or all of them.
    """
    whose = np.asarray(subjects)
    if share == 0:
        return np.arange(len(whose)), np.arange(0)
    names, first = np.unique(whose, return_index=True)
    count = round(share * len(names))
    if not 0 < count < len(names):
        raise UserError(
            f"finetune: held_out {share} of {len(names)} patients is {count}: it must leave some on each side"
        )
    shuffled = np.random.default_rng([seed, HOLD]).permutation(len(names))
    # Every so many of the subjects in order of disease: no disease is left out by bad luck.
    by_class = shuffled[np.argsort(np.asarray(classes)[first][shuffled], kind="stable")]
    chosen = by_class[((np.arange(count) + 0.5) * len(names) / count).astype(int)]
    held = np.isin(whose, names[chosen])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _passes(key: list[int], places: Sequence[int], count: int) -> np.ndarray:
    """Return what lies at ``places`` of shuffled passes over ``range(count)`` laid end to end."""
    orders = {p: np.random.default_rng([*key, p]).permutation(count) for p in {place // count for place in places}}
    return np.array([orders[place // count][place % count] for place in places])


def _balanced(seed: int, places: Sequence[int], rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Lay shuffled passes over the classes end to end; a class's turn takes the next photo of its own passes."""
    kinds = np.unique(classes)
    turns = kinds[_passes([seed, CLASS], places, len(kinds))]
    members = {kind: rows[classes == kind] for kind in kinds}
    # A pass holds each class once, so the number of the pass is how often the class was drawn before.
    picks = [
        members[kind][_passes([seed, WITHIN, int(kind)], [place // len(kinds)], len(members[kind]))[0]]
        for place, kind in zip(places, turns, strict=True)
    ]
    return np.array(picks)
