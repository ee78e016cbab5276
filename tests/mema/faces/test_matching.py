import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mema.faces import matching
from mema.faces.matching import nearest, nearest_neighbours
from mema.faces.recognisers import unit


def by_loop(probes, gallery, k):
    """Indices and distances of a full table, the first of equally near ones first."""
    full = cdist(np.asarray(probes, float), np.asarray(gallery, float))
    order = np.argsort(full, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(full, order, axis=1)


@pytest.mark.parametrize("blocks", [(3, 128), (64, 200), (512, 8192)])
@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_are_those_of_a_full_table(blocks, k, monkeypatch):
    monkeypatch.setattr(matching, "PROBES", blocks[0])
    monkeypatch.setattr(matching, "GALLERY", blocks[1])
    random = np.random.default_rng(0)
    probes, gallery = unit(random.normal(size=(101, 24))), unit(random.normal(size=(613, 24)))
    found = nearest_neighbours(probes, gallery, k)
    index, distance = by_loop(probes, gallery, k)
    np.testing.assert_array_equal(found.indices, index)
    np.testing.assert_allclose(found.distances, distance, rtol=1e-6)
    assert found.indices.dtype == np.int64 and found.distances.dtype == np.float32


def test_vectors_need_not_be_of_unit_length():
    random = np.random.default_rng(2)
    probes, gallery = random.normal(size=(20, 5)) * 9, random.normal(size=(300, 5)) * random.random((300, 1)) * 20
    found = nearest_neighbours(probes, gallery, 3)
    np.testing.assert_array_equal(found.indices, by_loop(probes, gallery, 3)[0])


def test_more_neighbours_than_spare_and_all_of_them():
    random = np.random.default_rng(3)
    probes, gallery = unit(random.normal(size=(9, 8))), unit(random.normal(size=(160, 8)))
    for k in (150, 160):
        np.testing.assert_array_equal(nearest_neighbours(probes, gallery, k).indices, by_loop(probes, gallery, k)[0])


def test_a_near_duplicate_is_told_from_a_copy():
    gallery = unit(np.random.default_rng(1).normal(size=(50, 128)))
    probe = gallery[7:8].copy()
    probe[0, 0] += 1e-5
    index, distance = nearest(probe, gallery)
    assert index[0] == 7
    assert distance[0] == pytest.approx(np.linalg.norm(probe[0] - gallery[7]), rel=1e-3)
    assert nearest(gallery[7:8], gallery)[1][0] == 0


def test_what_float32_products_cannot_order_is_still_ordered():
    """Sixty near-copies of each photo, nearer to one another than a product's rounding."""
    random = np.random.default_rng(4)
    people = unit(random.normal(size=(5, 512)))
    gallery = np.repeat(people, 60, axis=0) + np.float32(1e-6) * random.normal(size=(300, 512)).astype(np.float32)
    found = nearest_neighbours(people, gallery, 4)
    index, distance = by_loop(people, gallery, 4)
    np.testing.assert_array_equal(found.indices, index)
    np.testing.assert_allclose(found.distances, distance, rtol=1e-5)


def test_of_equally_near_ones_the_first_wins():
    gallery = np.tile(np.eye(3, dtype=np.float32), (40, 1))
    found = nearest_neighbours(np.eye(3, dtype=np.float32), gallery, 2)
    np.testing.assert_array_equal(found.indices, [[0, 3], [1, 4], [2, 5]])


def test_no_probe_and_no_gallery():
    gallery = np.eye(3, dtype=np.float32)
    index, distance = nearest(np.zeros((0, 3)), gallery)
    assert len(index) == len(distance) == 0
    for k, among in ((1, gallery[:0]), (4, gallery), (0, gallery)):
        with pytest.raises(ValueError, match="cannot be found in a gallery of"):
            nearest_neighbours(gallery, among, k)


def test_memory_is_that_of_two_blocks():
    """A table of all distances would take 36 MB, and in float64 twice that; a block of scores takes 6 MB."""
    import tracemalloc

    random = np.random.default_rng(5)
    probes, gallery = (unit(random.normal(size=(3000, 16))) for _ in range(2))
    tracemalloc.start()
    nearest_neighbours(probes, gallery)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6
