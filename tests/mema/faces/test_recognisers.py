import numpy as np
import pytest

from mema.errors import UserError
from mema.faces.recognisers import RECOGNISERS, recogniser

NAMES = ("dlib", "phantom-arcface", "phantom-cosface", "phantom-sphereface")


@pytest.fixture(scope="module", params=NAMES)
def instrument(request):
    if request.param == "dlib":
        pytest.importorskip("dlib")
    return recogniser(request.param)


def test_one_person_is_nearer_than_two(instrument, phantoms):
    images, people, _ = phantoms
    vectors = instrument.embed(images).vectors
    gaps = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    upper = np.triu(np.ones_like(gaps, dtype=bool), 1)
    same = (people[:, None] == people[None]) & upper
    other = (people[:, None] != people[None]) & upper
    # The area under the ROC curve.
    area = np.mean(gaps[same][:, None] < gaps[other][None])
    assert area > 0.95


def test_vectors_have_unit_length_and_do_not_depend_on_the_batch(instrument, phantoms):
    images, _, _ = phantoms
    whole = instrument.embed(images)
    assert instrument.name in NAMES
    assert whole.vectors.shape == (len(images), instrument.dimension)
    assert whole.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole.vectors, axis=1), 1, atol=1e-5)
    alone = instrument.embed(images[5:6])
    np.testing.assert_allclose(alone.vectors[0], whole.vectors[5], atol=1e-4)
    again = instrument.embed(images)
    np.testing.assert_array_equal(again.vectors, whole.vectors)


def test_a_photo_without_a_face_still_has_a_vector(instrument, blank):
    seen = instrument.embed(blank)
    np.testing.assert_allclose(np.linalg.norm(seen.vectors, axis=1), 1, atol=1e-5)
    if instrument.name == "dlib":
        assert not seen.found.any()
    assert len(instrument.embed(blank[:0]).vectors) == 0


def test_photos_of_any_size_and_shape(instrument, phantoms):
    images = phantoms[0][:2]
    larger = images.repeat(2, axis=1).repeat(2, axis=2)
    near = np.linalg.norm(instrument.embed(larger).vectors - instrument.embed(images).vectors, axis=1)
    assert near.max() < 0.25
    assert instrument.embed(images[:, 10:]).vectors.shape == (2, instrument.dimension)


def test_all_names_are_listed_without_loading_any():
    assert set(NAMES) <= set(RECOGNISERS.names())
    with pytest.raises(UserError, match="phantom-arcface"):
        recogniser("phantom-arcfaces")
