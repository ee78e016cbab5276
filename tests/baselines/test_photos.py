"""A change that a small network drew, put on a photo of any size."""

from __future__ import annotations

import numpy as np

from baselines.photos import flat_photos, with_change


def test_no_change_is_the_photo_and_a_change_is_taken_back() -> None:
    photo = np.random.default_rng(0).integers(60, 190, (96, 80, 3), dtype=np.uint8)
    assert np.array_equal(with_change(photo, np.zeros((3, 48, 48), np.float32)), photo)
    change = np.random.default_rng(1).normal(0, 0.03, (3, 48, 48)).astype(np.float32)
    changed = with_change(photo, change)
    assert not np.array_equal(changed, photo)
    assert np.abs(with_change(changed, -change).astype(int) - photo).max() <= 1


def test_a_change_is_what_a_smaller_copy_shows_and_ends_at_black_and_white() -> None:
    photo = np.full((96, 96, 3), 128, np.uint8)
    change = np.random.default_rng(1).normal(0, 0.03, (3, 48, 48)).astype(np.float32)
    before, after = (flat_photos(one[None], 48)[0] for one in (photo, with_change(photo, change)))
    assert np.abs(after - before - change.ravel()).mean() < 0.01
    white = with_change(photo, np.ones((3, 48, 48), np.float32))
    assert (white == 255).all() and (with_change(photo, -np.ones((3, 48, 48), np.float32)) == 0).all()
