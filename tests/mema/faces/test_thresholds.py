"""The calibration is checked on vectors whose false-accept rate is known from a large independent sample."""

import numpy as np
import pytest

from mema.errors import UserError
from mema.faces.recognisers import unit
from mema.faces.thresholds import calibrate


def people(subjects: int, photos: int, seed: int, dimension: int = 16, spread: float = 0.3) -> tuple:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(subjects, 1, dimension))
    vectors = centres + spread * random.normal(size=(subjects, photos, dimension))
    return unit(vectors.reshape(-1, dimension)), np.repeat(np.arange(subjects), photos)


def false_accept_rate(distance: float) -> float:
    vectors, _ = people(3000, 1, seed=99)
    gaps = np.linalg.norm(vectors[:1500] - vectors[1500:], axis=1)
    others = [np.linalg.norm(vectors[:1500] - np.roll(vectors[1500:], k, axis=0), axis=1) for k in range(1, 200)]
    return float(np.mean(np.concatenate([gaps, *others]) < distance))


@pytest.mark.parametrize("pairs", ["disjoint", "all"])
def test_threshold_has_the_rate_asked_for(pairs):
    vectors, subjects = people(300, 3, seed=1)
    threshold = calibrate(vectors, subjects, 1e-2, pairs=pairs)
    assert 0.7e-2 < false_accept_rate(threshold.distance) < 1.4e-2
    low, high = threshold.interval
    assert low < threshold.distance < high
    assert false_accept_rate(low) < 1e-2 < false_accept_rate(high)
    assert threshold.resolved


def test_all_pairs_agree_with_a_full_sort():
    vectors, subjects = people(40, 3, seed=2)
    different = np.triu(subjects[:, None] != subjects[None], 1)
    gaps = np.sort(np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)[different])
    threshold = calibrate(vectors, subjects, 1e-3, pairs="all")
    assert threshold.pairs == len(gaps) == 40 * 39 // 2 * 9
    # Exactly floor(FAR x pairs) = 7 impostor pairs lie below it.
    assert np.sum(gaps < threshold.distance - 1e-6) == 7
    assert threshold.distance == pytest.approx(gaps[7], abs=1e-6)


def test_blocks_do_not_change_the_answer(monkeypatch):
    vectors, subjects = people(50, 2, seed=3)
    whole = calibrate(vectors, subjects, 1e-2, pairs="all")
    monkeypatch.setattr("mema.faces.thresholds.BLOCK", 7)
    cut = calibrate(vectors, subjects, 1e-2, pairs="all")
    assert cut.distance == pytest.approx(whole.distance, abs=1e-6)
    assert cut.interval == pytest.approx(whole.interval, abs=1e-6)


def test_a_rate_finer_than_the_pairs_is_not_claimed():
    vectors, subjects = people(12, 2, seed=4)
    threshold = calibrate(vectors, subjects, 1e-4, pairs="all")
    different = subjects[:, None] != subjects[None]
    nearest = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)[different].min()
    assert not threshold.resolved
    assert threshold.finest_far == pytest.approx(1 / (12 * 11 // 2 * 4))
    assert threshold.distance == pytest.approx(nearest, abs=1e-6)


def test_the_interval_counts_subjects_and_not_photos():
    vectors, subjects = people(60, 2, seed=5)
    once = calibrate(vectors, subjects, 1e-2, pairs="all")
    copied = calibrate(np.repeat(vectors, 5, axis=0), np.repeat(subjects, 5), 1e-2, pairs="all")
    width, copied_width = np.diff(once.interval)[0], np.diff(copied.interval)[0]
    assert copied_width > 0.8 * width


def test_bad_requests_are_user_errors():
    vectors, subjects = people(5, 2, seed=6)
    with pytest.raises(UserError, match="two subjects"):
        calibrate(vectors[:2], subjects[:2], 1e-2)
    with pytest.raises(UserError, match="between 0 and 1"):
        calibrate(vectors, subjects, 1.5)
