import numpy as np
import pytest

from mema.feature_distances import frechet_distance, kernel_distance, precision_recall


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


@pytest.mark.parametrize("count", [12, 200])
def test_frechet_distance_is_the_formula_of_the_papers(count):
    random = np.random.default_rng(0)
    real, generated = random.normal(size=(count, 30)), random.normal(0.5, 2, size=(count, 30)) @ np.diag(range(30))
    means = real.mean(axis=0) - generated.mean(axis=0)
    first, second = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    # The trace of a root is the sum of the roots of the eigenvalues.
    root = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0)).sum()
    wanted = means @ means + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-4)


def test_kernel_distance_tells_sets_apart_without_bias():
    real = normal(400)
    assert kernel_distance(real, real) == 0
    # Of another 400 draws of the same population, and of the draws themselves with a little noise.
    assert abs(kernel_distance(real, normal(400, seed=1))) < 0.05
    assert abs(kernel_distance(real, real + normal(400, scale=0.01, seed=2))) < 0.05
    assert kernel_distance(real, normal(400, mean=1, seed=1)) > 1
    # In expectation zero however few there are, where a Frechet distance is not.
    few = [kernel_distance(normal(5, seed=seed), normal(5, seed=1000 + seed)) for seed in range(400)]
    assert np.mean(few) == pytest.approx(0, abs=3 * np.std(few) / 20)


def test_kernel_distance_is_kid_but_for_the_pairs():
    import torch
    from torchmetrics.image.kid import poly_kernel, poly_mmd

    real, generated = normal(20), normal(20, mean=1, seed=1)
    tensors = torch.from_numpy(real), torch.from_numpy(generated)
    between = poly_kernel(*tensors)
    kid = float(poly_mmd(*tensors) + 2 * between.mean() - 2 * (between.sum() - between.trace()) / (20 * 19))
    assert kernel_distance(real, generated) == pytest.approx(kid)


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
