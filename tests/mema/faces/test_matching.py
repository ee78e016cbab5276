import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mema.faces.matching import nearest
from mema.faces.recognisers import unit


@pytest.mark.parametrize("block", [3, 64, 4096])
def test_nearest_equals_brute_force(block):
    random = np.random.default_rng(0)
    probes, gallery = unit(random.normal(size=(101, 24))), unit(random.normal(size=(230, 24)))
    index, distance = nearest(probes, gallery, block=block)
    full = cdist(probes.astype(float), gallery.astype(float))
    np.testing.assert_array_equal(index, full.argmin(axis=1))
    np.testing.assert_allclose(distance, full.min(axis=1), rtol=1e-6)


def test_a_near_duplicate_is_told_from_a_copy():
    gallery = unit(np.random.default_rng(1).normal(size=(50, 128)))
    probe = gallery[7:8].copy()
    probe[0, 0] += 1e-5
    index, distance = nearest(probe, gallery)
    assert index[0] == 7
    assert distance[0] == pytest.approx(np.linalg.norm(probe[0] - gallery[7]), rel=1e-3)
    assert nearest(gallery[7:8], gallery)[1][0] == 0


def test_of_equally_near_ones_the_first_wins():
    gallery = np.tile(np.eye(3, dtype=np.float32), (4, 1))
    index, _ = nearest(np.eye(3, dtype=np.float32), gallery, block=2)
    np.testing.assert_array_equal(index, [0, 1, 2])


def test_no_probe_and_no_gallery():
    gallery = np.eye(3, dtype=np.float32)
    index, distance = nearest(np.zeros((0, 3)), gallery)
    assert len(index) == len(distance) == 0
    with pytest.raises(ValueError, match="empty"):
        nearest(gallery, gallery[:0])
