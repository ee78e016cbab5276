"""Intervals of differences and of measures of diversity: published examples, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from mema.statistics import (
    Estimate,
    cluster_jackknife,
    cohen_kappa,
    difference,
    jackknife_error,
    paired_difference,
    paired_table,
    wilson,
)


def pairs(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(
    ("table", "interval"),
    # Newcombe 1998, Table II, method 10.
    [((36, 12, 2, 0), (0.2, 0.0569, 0.3404)), ((2, 12, 2, 34), (0.2, 0.0537, 0.3421))],
)
def test_paired_difference_is_newcombes(table, interval):
    assert paired_difference(*pairs(*table)) == pytest.approx(interval, abs=5e-5)


def test_paired_difference_covers_the_truth_about_as_often_as_it_says():
    random, inside = np.random.default_rng(0), 0
    for _ in range(500):
        luck = random.random(100)
        first, second = luck < 0.4, np.where(random.random(100) < 0.5, luck, random.random(100)) < 0.1
        value, low, high = paired_difference(first, second)
        assert low <= value <= high
        inside += low <= 0.3 <= high
    assert 0.92 <= inside / 500 <= 0.98


def test_pairing_narrows_and_nothing_seen_still_has_an_interval():
    together, apart = pairs(20, 20, 0, 60), pairs(8, 32, 12, 48)
    widths = [high - low for _, low, high in (paired_difference(*one) for one in (together, apart))]
    assert widths[0] < widths[1]
    value, low, high = paired_difference(*pairs(0, 0, 0, 50))
    assert value == 0 and low == -high < -0.05
    with pytest.raises(ValueError, match="0 and 0 cases are not pairs"):
        paired_difference(np.array([]), np.array([]))


def test_difference_covers_the_truth_about_as_often_as_it_says():
    random, inside = np.random.default_rng(1), 0
    for _ in range(500):
        hits = random.binomial(80, [0.3, 0.1])
        first, second = (Estimate(count / 80, *wilson(int(count), 80)) for count in hits)
        _, low, high = difference(first, second)
        inside += low <= 0.2 <= high
    assert 0.92 <= inside / 500 <= 0.98


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(2).normal(size=(40, 3))
    left_out = np.array([np.delete(values, row, axis=0).mean(axis=0) for row in range(40)])
    assert jackknife_error(left_out) == pytest.approx(values.std(axis=0, ddof=1) / np.sqrt(40))


@pytest.mark.parametrize("weights", [None, "quadratic"])
def test_kappa_is_scikit_learns(weights):
    from sklearn.metrics import cohen_kappa_score

    random = np.random.default_rng(3)
    first = random.integers(0, 4, (5, 60))
    second = np.where(random.random((5, 60)) < 0.6, first, random.integers(0, 4, (5, 60)))
    tables = np.stack([paired_table(*pair, range(4)) for pair in zip(first.tolist(), second.tolist(), strict=True)])
    expected = [cohen_kappa_score(*pair, weights=weights) for pair in zip(first, second, strict=True)]
    assert cohen_kappa(tables, squared=weights is not None) == pytest.approx(expected)
    assert np.isnan(cohen_kappa(np.array([[[7, 0], [0, 0]], [[0, 0], [0, 0]]]))).all()


def test_a_jackknife_over_clusters_leaves_out_whole_ones():
    values = np.random.default_rng(0).normal(5, 2, 60)
    subjects = [i // 3 for i in range(60)]
    found = cluster_jackknife(lambda rows: float(values[rows].mean()), subjects)
    # Of equal clusters the mean is that of their means, whose standard error is known.
    means = values.reshape(20, 3).mean(axis=1)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(1.96 * means.std(ddof=1) / np.sqrt(20), rel=1e-3)
    # A subject's photos stand and fall together, so that copies of them tell nothing new.
    copied = cluster_jackknife(lambda rows: float(np.repeat(values, 2)[rows].mean()), np.repeat(subjects, 2).tolist())
    assert copied == pytest.approx(found)


def test_a_jackknife_by_groups_is_as_wide_as_one_by_clusters():
    values = np.random.default_rng(0).normal(size=4000)

    def width(groups):
        found = cluster_jackknife(lambda rows: float(values[rows].mean()), range(4000), groups=groups)
        return found.high - found.low

    assert width(100) == pytest.approx(width(4000), rel=0.2)
    with pytest.raises(ValueError, match="two clusters"):
        cluster_jackknife(lambda rows: 0.0, ["a", "a"])
