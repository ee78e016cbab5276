"""Ranks, intervals and tie groups on scores whose order is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.statistics import (
    PROFILES,
    check_comparable,
    comparisons,
    holm,
    interval_of,
    standings,
    standings_by_profile,
)
from mema.errors import UserError
from mema.result import Method, Protocol, ReleaseReference, Result


def make_result(name: str, scores: np.ndarray, subjects: list[str] | None = None) -> Result:
    ids = [f"i{i}" for i in range(len(scores))]
    return Result(
        method=Method(name=name, revision="1", reversible=False, prior="None"),
        release=ReleaseReference(name="r", version="1.0.0", digest="d"),
        protocol=Protocol(name="p", version="1"),
        metrics=[],
        seeds=[0],
        git_hash=None,
        hardware="none",
        counts={},
        failures=[],
        image_ids=ids,
        subject_ids=subjects or ids,
        scores={"balanced": scores.tolist()},
    )


def rank(*results: Result) -> dict[str, tuple[int, int, int, int]]:
    rows = standings(results, "balanced", draws=500, seed=0)
    return {row.method: (row.rank, row.rank_low, row.rank_high, row.group) for row in rows}


def test_clearly_different_methods_have_ranks_without_doubt() -> None:
    random = np.random.default_rng(0)
    results = [make_result(name, random.normal(mean, 0.1, 80)) for name, mean in [("a", 0.2), ("b", 0.8), ("c", 0.5)]]
    assert rank(*results) == {"b": (1, 1, 1, 1), "c": (2, 2, 2, 2), "a": (3, 3, 3, 3)}


def test_equal_methods_share_rank_and_group() -> None:
    scores = np.random.default_rng(0).uniform(size=60)
    ranks = rank(make_result("a", scores), make_result("b", scores), make_result("c", scores - 1))
    assert ranks == {"a": (1, 1, 1, 1), "b": (1, 1, 1, 1), "c": (3, 3, 3, 2)}


def test_pairing_tells_apart_what_single_intervals_do_not() -> None:
    """One method is better by a little on every image, though images differ by far more than that."""
    hardness = np.random.default_rng(1).uniform(0, 1, 50)
    results = [make_result("a", hardness), make_result("b", hardness + 0.01)]
    alone = interval_of(hardness, results[0].subject_ids, draws=500, seed=0)
    assert alone.low < (hardness + 0.01).mean() < alone.high
    assert rank(*results) == {"b": (1, 1, 1, 1), "a": (2, 2, 2, 2)}


def test_noise_gives_wide_ranks_and_one_group() -> None:
    random = np.random.default_rng(2)
    ranks = rank(*[make_result(name, random.integers(0, 2, 40).astype(float)) for name in "abcd"])
    assert {group for *_, group in ranks.values()} == {1}
    assert max(high - low for _, low, high, _ in ranks.values()) >= 2


def test_images_of_one_subject_are_not_independent() -> None:
    values = np.repeat(np.random.default_rng(3).uniform(size=10), 20)
    alone = interval_of(values, [str(i) for i in range(200)], draws=500, seed=0)
    clustered = interval_of(values, [str(i // 20) for i in range(200)], draws=500, seed=0)
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_a_share_of_all_or_nothing_still_has_a_width() -> None:
    ids = [str(i) for i in range(30)]
    ones = interval_of(np.ones(30), ids, draws=200, seed=0, share=True)
    assert ones.high == 1
    assert 0.8 < ones.low < 1
    assert interval_of(np.zeros(30), ids, draws=200, seed=0).high == 0


def test_a_missing_score_counts_as_nothing() -> None:
    whole = make_result("whole", np.full(20, 0.5))
    half = whole.model_copy(
        update={
            "method": whole.method.model_copy(update={"name": "half"}),
            "scores": {"balanced": [0.5] * 10 + [None] * 10},
        }
    )
    assert rank(whole, half) == {"whole": (1, 1, 1, 1), "half": (2, 2, 2, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"release": ReleaseReference(name="r", version="1.0.1", digest="e")}, "differ in release"),
        ({"protocol": Protocol(name="p", version="2")}, "differ in protocol"),
        ({"image_ids": ["x", "y"]}, "differ in image_ids"),
    ],
)
def test_what_cannot_be_compared_is_not(change: dict[str, object], message: str) -> None:
    first = make_result("a", np.ones(2))
    second = make_result("b", np.ones(2)).model_copy(update=change)
    with pytest.raises(UserError, match=message):
        check_comparable([first, second])


def test_a_method_counts_once() -> None:
    with pytest.raises(UserError, match="two results"):
        check_comparable([make_result("a", np.ones(2))] * 2)
    with pytest.raises(UserError, match="no results"):
        check_comparable([])


def test_holm_as_in_the_textbook() -> None:
    """The smallest counts m times, the next m - 1 times, and never less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_many_methods_need_a_larger_difference_than_two() -> None:
    """One of many equal methods looks better by luck: alone with another it passes, among all it does not."""
    random = np.random.default_rng(4)
    others = [make_result(f"m{i}", random.normal(0, 1, 60)) for i in range(11)]
    lucky = make_result("lucky", random.normal(0.42, 1, 60))
    two = comparisons([lucky, others[0]], "balanced", draws=500, seed=0)[0]
    among = comparisons([lucky, *others], "balanced", draws=500, seed=0)[0]
    assert (two.first, two.second) == (among.first, among.second) == ("lucky", "m0")
    assert two.difference == among.difference
    assert two.p_value < 0.05 < among.p_value
    assert rank(lucky, others[0])["m0"][3] == 2


def test_a_comparison_reads_in_its_own_direction() -> None:
    random = np.random.default_rng(5)
    low, high = (make_result(name, random.normal(mean, 0.1, 50)) for name, mean in (("low", 0.2), ("high", 0.7)))
    compared = comparisons([low, high], "balanced", draws=500, seed=0)[0]
    assert compared.difference == pytest.approx(np.mean(low.scores["balanced"]) - np.mean(high.scores["balanced"]))
    assert compared.interval.low < compared.difference < compared.interval.high < 0
    assert compared.p_value < 1e-6


def test_what_is_best_depends_on_what_is_wanted() -> None:
    random = np.random.default_rng(6)

    def method(name: str, privacy: float, utility: float) -> Result:
        scores = {"privacy": privacy, "utility": utility, "balanced": (privacy + utility) / 2}
        columns = {key: (random.uniform(size=80) < share).astype(float).tolist() for key, share in scores.items()}
        return make_result(name, np.zeros(80)).model_copy(update={"scores": columns})

    ranks = standings_by_profile([method("hides", 0.95, 0.3), method("shows", 0.3, 0.95)], draws=300, seed=0)
    first = {profile: rows[0].method for profile, rows in ranks.items()}
    assert first["privacy first"] == "hides"
    assert first["utility first"] == "shows"
    assert set(first) == set(PROFILES)
    assert all(sum(weights.values()) == pytest.approx(1) for weights in PROFILES.values())
