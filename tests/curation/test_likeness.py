"""Candidates are compared a block at a time; the blocks must not show, and neither must how they are compared."""

import numpy as np
import pytest

from curation import likeness
from curation.likeness import People, combine, measure_likeness
from mema.faces.leakage import equal_size, first_photos, share_of_hits, subject_distances
from mema.faces.thresholds import Threshold


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def threshold(distance):
    return Threshold(distance, 0.01, (distance - 0.1, distance + 0.1), 100, 0.01, True)


@pytest.fixture
def world():
    """Eleven candidates, patients with one to three photos, controls with two, eight donors, two recognisers."""
    random = np.random.default_rng(0)
    patients = [f"p{n}" for n, photos in enumerate((3, 1, 2, 3, 3)) for _ in range(photos)]
    controls = [f"c{n // 2}" for n in range(8)]
    own = np.array([0, 1, 2, 3, -1, 0, 1, 2, 3, -1, 4])
    used = np.zeros(8, bool)
    used[:5] = True
    subjects, photos = equal_size(patients, controls)
    people = People(patients, controls, photos, subjects, own, used)
    sizes = {"candidates": 11, "patients": len(patients), "controls": 8, "donors": 8}
    vectors = {name: {key: unit(random.normal(size=(n, 4))) for key, n in sizes.items()} for name in ("a", "b")}
    return vectors, people


def test_majority_must_name_the_same_person():
    first, second, third = (np.zeros((2, 3), bool) for _ in range(3))
    first[0, 0] = second[0, 1] = third[0, 2] = True  # three recognisers, three people
    first[1, 2] = second[1, 2] = True
    joined = combine({name: {"patients": t} for name, t in zip("abc", (first, second, third), strict=True)})
    assert joined["any"]["patients"].any(axis=1).tolist() == [True, True]
    assert joined["majority"]["patients"].any(axis=1).tolist() == [False, True]


def test_it_is_what_whole_tables_say(world):
    vectors, people = world
    measured = measure_likeness(vectors, {0.01: {"a": threshold(0.5), "b": threshold(0.6)}}, people)
    assert people.equal_photos == 2
    for name, cutoff in (("a", 0.5), ("b", 0.6)):
        one, found = vectors[name], measured.found[0.01][name]
        table = subject_distances(one["candidates"], one["patients"], people.patients)
        np.testing.assert_array_equal(measured.nearest[name], table.min(axis=1))
        for end, limit in zip(found.patients.ends, (cutoff, cutoff - 0.1, cutoff + 0.1), strict=True):
            np.testing.assert_array_equal(end, table.min(axis=1) < limit)
        few = first_photos(people.patients, 2)
        table = subject_distances(one["candidates"], one["patients"][few], [people.patients[row] for row in few])
        np.testing.assert_allclose(found.patients.attack, share_of_hits(table < cutoff, people.equal_subjects))
        donors = np.linalg.norm(one["candidates"][:, None] - one["donors"][None], axis=2) < cutoff
        own = [row >= 0 and donors[number, row] for number, row in enumerate(people.own)]
        assert found.flagged_donor.tolist() == own and len(found.own_donor.ends[0]) == 9
        np.testing.assert_array_equal(found.any_donor.ends[0], donors[:, :5].any(axis=1))
    both = measured.found[0.01]
    flagged = [both[name].patients.ends[0] for name in ("a", "b")]
    np.testing.assert_array_equal(both["any"].patients.ends[0], flagged[0] | flagged[1])
    assert np.all(both["majority"].patients.ends[0] <= (flagged[0] & flagged[1]))


@pytest.mark.parametrize("block", [1, 4])
def test_blocks_do_not_show(world, block, monkeypatch):
    vectors, people = world
    thresholds = {0.01: {"a": threshold(0.5), "b": threshold(0.6)}}
    whole = measure_likeness(vectors, thresholds, people)
    monkeypatch.setattr(likeness, "BLOCK", block)
    cut = measure_likeness(vectors, thresholds, people)
    for name, one in whole.found[0.01].items():
        other = cut.found[0.01][name]
        for ours, theirs in ((one.patients, other.patients), (one.own_donor, other.own_donor)):
            np.testing.assert_array_equal(ours.ends, theirs.ends)
            np.testing.assert_allclose(ours.attack, theirs.attack)
            np.testing.assert_allclose(ours.control, theirs.control)
        np.testing.assert_array_equal(one.any_donor.ends, other.any_donor.ends)


def test_without_controls_or_donors(world):
    vectors, people = world
    alone = people._replace(controls=[], equal_subjects=0, own=np.full(11, -1), used=np.zeros(8, bool))
    for one in vectors.values():
        one["controls"] = one["controls"][:0]
    found = measure_likeness(vectors, {0.01: {"a": threshold(0.5), "b": threshold(0.6)}}, alone).found[0.01]["any"]
    assert found.patients.attack is None and found.own_donor is None and found.any_donor is None
    assert not found.flagged_donor.any()
