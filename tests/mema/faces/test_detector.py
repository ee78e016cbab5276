import numpy as np
import pytest

pytest.importorskip("dlib")

from mema.faces.detector import detect, landmarks


def test_it_sees_phantoms_and_nothing_in_noise(phantoms, blank):
    images, _, _ = phantoms
    seen = detect(images)
    assert seen.dtype == bool
    assert seen.mean() > 0.9
    assert not detect(blank).any()


def test_landmarks_lie_where_the_phantom_has_them(phantoms, blank):
    images, _, truth = phantoms
    points = landmarks(images)
    assert points.shape == (len(images), 68, 2)
    assert points.dtype == np.float32
    seen = ~np.isnan(points).any(axis=(1, 2))
    np.testing.assert_array_equal(seen, detect(images))
    eyes = np.linalg.norm(truth[:, 36:42].mean(axis=1) - truth[:, 42:48].mean(axis=1), axis=1)
    inner = slice(27, 68)
    error = np.linalg.norm(points[:, inner] - truth[:, inner], axis=-1).mean(axis=1) / eyes
    assert np.median(error[seen]) < 0.1
    assert np.isnan(landmarks(blank)).all()


def test_landmarks_are_in_pixels_of_the_photo(phantoms):
    images = phantoms[0][:6]
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    small_points, large_points = landmarks(images), landmarks(large)
    both = ~np.isnan(small_points + large_points).any(axis=(1, 2))
    assert both.sum() >= 4
    # A pixel (x) of the photo covers (2x, 2x + 1) of the enlarged one, so its centre lies at 2x + 0.5.
    shift = np.abs(large_points[both] - (2 * small_points[both] + 0.5))
    assert np.median(shift) < 1.5


def test_no_photo_gives_no_row():
    assert detect(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0,)
    assert landmarks(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 68, 2)
