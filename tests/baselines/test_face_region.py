"""Masks and alignment, against shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.face_region import NOSE_TIP, Similarity, eyes_mask, face_mask, feathered, polygon_mask


@pytest.fixture
def points() -> np.ndarray:
    """A schematic face of 68 points in a photo of 128 px: jaw, brows, nose, eyes, mouth where iBUG has them."""
    jaw = [(64 - 40 * np.cos(a), 60 + 50 * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
    brows = [(x, 50) for x in np.linspace(34, 58, 5)] + [(x, 50) for x in np.linspace(70, 94, 5)]
    nose = [(64, y) for y in np.linspace(58, 76, 4)] + [(x, 80) for x in np.linspace(58, 70, 5)]
    eyes = [(c + 8 * np.cos(a), 60 + 3 * np.sin(a)) for c in (46, 82) for a in np.linspace(0, 2 * np.pi, 6, False)]
    mouth = [(64 + 12 * np.cos(a), 94 + 4 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 20, False)]
    return np.array([*jaw, *brows, *nose, *eyes, *mouth], np.float32)


def test_the_face_reaches_from_the_chin_over_the_forehead(points: np.ndarray) -> None:
    mask = face_mask(points, 128, 128)
    rows = np.flatnonzero(mask.any(axis=1))
    # The brows are at 50 and the nose tip at 80, so that the forehead goes on for 0.6 x 30 px.
    assert (rows[0], rows[-1]) == pytest.approx((32, 110), abs=1)
    assert all(mask[round(y), round(x)] for x, y in points[17:])
    assert not mask[:, :22].any()
    assert not mask[10].any()


def test_eyes_are_two_regions_round_their_landmarks(points: np.ndarray) -> None:
    mask = eyes_mask(points, 128, 128, margin=0.5)
    assert mask[60, 46]
    assert mask[60, 82]
    assert not mask[60, 64]
    assert mask[:, :64].sum() == pytest.approx(np.pi * 12 * 9, rel=0.15)


def test_a_region_outside_the_photo_is_empty() -> None:
    assert not polygon_mask(np.array([[200, 200], [220, 200], [210, 230]], float), 64, 64).any()


def test_feathering_falls_to_the_edge_and_is_whole_inside() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    weight = feathered(mask, 5)
    assert weight[20, 20] == 1
    assert (weight[~mask] == 0).all()
    assert list(weight[20, 5:11]) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    # A face that the photo cuts off fades there too.
    assert feathered(np.ones((8, 8), bool), 2)[0, 4] == 0.5


def test_alignment_finds_the_similarity_that_was_applied(points: np.ndarray) -> None:
    applied = Similarity(0.7 * np.exp(0.3j), 12 - 5j)
    found = Similarity.between(points, applied.apply(points))
    assert found.turn == pytest.approx(applied.turn)
    assert found.shift == pytest.approx(applied.shift)
    assert applied.inverse().apply(applied.apply(points)) == pytest.approx(points, abs=1e-4)


def test_pixels_go_where_points_go(points: np.ndarray) -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    x, y = points[NOSE_TIP].astype(int)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    similarity = Similarity(0.8 * np.exp(0.2j), 10 + 3j)
    moved = similarity.warp(image, 100, 120).mean(axis=2)
    rows, columns = np.indices(moved.shape)
    centre = [(moved * columns).sum() / moved.sum(), (moved * rows).sum() / moved.sum()]
    assert centre == pytest.approx(similarity.apply(np.array([[x, y]]))[0], abs=0.05)
