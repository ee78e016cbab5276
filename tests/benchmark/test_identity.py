"""The identity track on vectors whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.tracks.identity import identification, identity_distance, verification
from mema.faces.matching import nearest


def unit_vectors(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(count: int) -> list[str]:
    return [f"s{i}" for i in range(count)]


def test_the_same_vectors_are_found_at_distance_zero() -> None:
    vectors = unit_vectors(40, 0)
    assert (identity_distance(vectors, vectors) == 0).all()
    assert (identification(vectors, vectors, names(40), names(40), block=7) == 1).all()


def test_id_dis_is_the_chord_of_the_angle() -> None:
    """ID-Dis on unit vectors is sqrt(2 - 2 cos) (ALGORITHMS §0)."""
    a, b = np.array([[1.0, 0.0]]), np.array([[np.cos(1.0), np.sin(1.0)]])
    assert identity_distance(a, b)[0] == pytest.approx(np.sqrt(2 - 2 * np.cos(1.0)))


def test_one_constant_output_is_found_by_chance() -> None:
    """All probes are one vector: exactly one of N subjects is nearest to it."""
    gallery = unit_vectors(50, 1)
    probes = np.repeat(unit_vectors(1, 2), 50, axis=0)
    assert identification(probes, gallery, names(50), names(50)).mean() == pytest.approx(1 / 50)


def test_vectors_of_nothing_tie_with_all_and_score_chance() -> None:
    gallery = unit_vectors(50, 1)
    scores = identification(np.zeros_like(gallery), gallery, names(50), names(50))
    assert scores == pytest.approx(np.full(50, 1 / 50))


def test_a_tie_scores_the_share_of_the_right_subject() -> None:
    gallery = unit_vectors(3, 1)[[0, 0, 0, 1]]
    scores = identification(gallery[:1], gallery, ["a"], ["a", "a", "b", "c"])
    assert scores[0] == pytest.approx(2 / 3)


def test_agrees_with_the_exact_nearest_neighbour() -> None:
    gallery, probes = unit_vectors(200, 3), unit_vectors(200, 3) + 1.2 * unit_vectors(200, 4)
    index, _ = nearest(probes, gallery)
    scores = identification(probes, gallery, names(200), names(200), block=64)
    assert (scores == (index == np.arange(200))).all()
    assert 0 < scores.mean() < 1


def test_a_subject_counts_not_a_photo() -> None:
    gallery = unit_vectors(2, 5)
    assert identification(gallery[[1]], gallery, ["a"], ["a", "a"])[0] == 1


def test_verification_is_strictly_below_the_threshold() -> None:
    assert list(verification(np.array([0.1, 0.5, 0.6]), 0.5)) == [1, 0, 0]
