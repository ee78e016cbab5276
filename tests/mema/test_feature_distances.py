import numpy as np
import pytest

from mema.feature_distances import frechet_distance, precision_recall


def normal(count, mean=0.0, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, scale, (count, 4))


def test_frechet_distance_is_that_of_the_gaussians():
    real, generated = normal(40_000), normal(40_000, mean=1.0, scale=2.0, seed=1)
    # |1|^2 over 4 dimensions, and (2 - 1)^2 in each of them.
    assert frechet_distance(real, generated) == pytest.approx(4 + 4, rel=0.05)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_fewer_images_than_features_is_a_number():
    random = np.random.default_rng(0)
    assert np.isfinite(frechet_distance(random.normal(size=(10, 30)), random.normal(size=(12, 30))))


def test_precision_falls_with_junk_and_recall_with_collapse():
    real = normal(300)
    same = precision_recall(real, normal(300, seed=1))
    assert min(same) > 0.8
    junk = np.concatenate([normal(150, seed=1), normal(150, mean=30, seed=2)])
    assert precision_recall(real, junk).precision == pytest.approx(0.5, abs=0.1)
    collapsed = precision_recall(real, normal(300, scale=0.05, seed=3))
    assert collapsed.precision > 0.9 and collapsed.recall < 0.1


def test_precision_needs_more_images_than_neighbours():
    with pytest.raises(ValueError, match="more than 3"):
        precision_recall(normal(3), normal(10))
