"""Batches: a function of seed and step; photos evenly, or diseases evenly; subjects on one side of the split."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mema.diffusion.batches import draw_batch, hold_out
from mema.diffusion.settings import TrainingSettings
from mema.errors import UserError

CLASSES = np.array([5] * 12 + [2] * 3 + [7])
ROWS = np.arange(100, 116)


def draws(settings, steps):
    return [draw_batch(settings, step, ROWS, CLASSES, 2) for step in steps]


@pytest.mark.parametrize("balance", ["none", "disease"])
def test_a_step_does_not_depend_on_those_before(balance):
    settings = TrainingSettings(batch=6, balance=balance, caption_dropout=0.5, seed=1)
    forwards, backwards = draws(settings, range(9)), draws(settings, reversed(range(9)))
    for batch, again in zip(forwards, reversed(backwards), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(batch, again, strict=True))
    other = draws(settings.model_copy(update={"seed": 2}), range(9))
    assert any(not np.array_equal(one.photos, two.photos) for one, two in zip(forwards, other, strict=True))
    assert {view for batch in forwards for view in batch.views} == {0, 1}
    assert {bool(drop) for batch in forwards for drop in batch.dropped} == {True, False}


def test_photos_are_drawn_evenly():
    seen = Counter(photo for batch in draws(TrainingSettings(batch=6), range(8)) for photo in batch.photos)
    assert seen == dict.fromkeys(ROWS, 3), "48 draws of 16 photos"


def test_balanced_diseases_are_drawn_evenly_and_photos_within_them():
    batches = draws(TrainingSettings(batch=6, balance="disease"), range(12))
    seen = Counter(int(photo) for batch in batches for photo in batch.photos)
    assert [sum(seen[row] for row in ROWS[kind == CLASSES]) for kind in (5, 2, 7)] == [24, 24, 24]
    assert seen == {**dict.fromkeys(range(100, 112), 2), **dict.fromkeys((112, 113, 114), 8), 115: 24}
    assert len({tuple(batch.photos) for batch in batches}) == len(batches), "not one order again and again"


def test_subjects_are_held_out_whole_and_in_proportion():
    subjects = np.repeat(np.arange(40), 3)
    classes = np.repeat([1] * 20 + [2] * 16 + [3] * 4, 3)
    trained, held = hold_out(subjects, classes, 0.25, 0)
    assert sorted([*trained, *held]) == list(range(120)) and len(held) == 30
    assert not set(subjects[trained]) & set(subjects[held])
    assert Counter(classes[held]) == {1: 15, 2: 12, 3: 3}
    assert not np.array_equal(held, hold_out(subjects, classes, 0.25, 1)[1])
    everyone, nobody = hold_out(subjects, classes, 0.0, 0)
    assert len(everyone) == 120 and len(nobody) == 0


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_split_with_an_empty_side_is_an_error(share):
    with pytest.raises(UserError, match=r"held_out .* of 6 patients"):
        hold_out(range(6), [1] * 6, share, 0)
