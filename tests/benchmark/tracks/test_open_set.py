"""Open-set and closed-set searches on vectors whose answer is known, and on rendered people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.config import BenchmarkConfig
from benchmark.tracks.open_set import (
    HALVINGS,
    OpenSet,
    codes_of,
    found,
    halves,
    ranked,
    similarity_to_subjects,
    threshold,
)
from benchmark.tracks.protocol import Sample
from mema.build import Build
from mema.errors import UserError
from mema.imageset import write_imageset
from mema.release import Release

CONFIG = BenchmarkConfig(recognisers=("phantom-sphereface",))


def unit_vectors(count: int, seed: int, dimension: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_every_subject_is_enrolled_in_half_of_the_splits() -> None:
    for subjects in (4, 9, 80):
        enrolled = halves(subjects, 1)
        assert enrolled.shape == (2 * HALVINGS, subjects)
        assert (enrolled.sum(axis=0) == HALVINGS).all()
        assert set(enrolled.sum(axis=1)) <= {subjects // 2, subjects - subjects // 2}
    assert not np.array_equal(halves(80, 1), halves(80, 2))
    with pytest.raises(UserError, match="four subjects"):
        halves(3, 0)


def test_a_subject_is_as_near_as_its_nearest_photo() -> None:
    codes = codes_of(["a", "b", "a", "c"])
    probes, gallery = unit_vectors(4, 0), unit_vectors(4, 1)
    product = probes @ gallery.T
    expected = np.stack([product[:, [0, 2]].max(axis=1), product[:, 1], product[:, 3]], axis=1)
    np.testing.assert_allclose(similarity_to_subjects(probes, gallery, codes), expected, atol=1e-12)


def test_vectors_that_know_nothing_rank_by_chance() -> None:
    subjects = 40
    codes = np.arange(subjects)
    rates = {rank: [] for rank in (1, 5, 10)}
    for seed in range(60):
        probes, gallery = unit_vectors(subjects, 2 * seed), unit_vectors(subjects, 2 * seed + 1)
        similarity = similarity_to_subjects(probes, gallery, codes)
        for rank, means in rates.items():
            means.append(ranked(similarity, codes, rank).mean())
    for rank, means in rates.items():
        share = rank / subjects
        assert np.mean(means) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / subjects / 60))


def test_one_output_for_all_finds_one_in_n() -> None:
    codes, gallery = np.arange(50), unit_vectors(50, 1)
    similarity = similarity_to_subjects(np.repeat(unit_vectors(1, 2), 50, axis=0), gallery, codes)
    for rank in (1, 5, 10):
        assert ranked(similarity, codes, rank).mean() == pytest.approx(rank / 50)
    nothing = similarity_to_subjects(np.zeros((50, 16)), gallery, codes)
    np.testing.assert_allclose(ranked(nothing, codes, 5), np.full(50, 0.1))
    enrolled = halves(50, 0)
    # Without a threshold one of the 25 who are enrolled is found in each split.
    assert found(similarity, codes, enrolled, -2.0).mean() == pytest.approx(1 / 25)
    at = threshold(similarity_to_subjects(gallery, gallery, codes), codes, enrolled, 0.05).similarity
    assert found(similarity, codes, enrolled, at).mean() <= 1 / 25


def test_the_same_vectors_are_always_found() -> None:
    codes, vectors = np.arange(50), unit_vectors(50, 1)
    similarity, enrolled = similarity_to_subjects(vectors, vectors, codes), halves(50, 0)
    assert (ranked(similarity, codes, 1) == 1).all()
    assert (found(similarity, codes, enrolled, threshold(similarity, codes, enrolled, 0.01).similarity) == 1).all()


def test_no_rate_finer_than_one_subject_is_claimed() -> None:
    codes, enrolled = np.arange(60), halves(60, 0)
    clear = similarity_to_subjects(unit_vectors(60, 1), unit_vectors(60, 2), codes)
    strict, finest, loose = (threshold(clear, codes, enrolled, rate) for rate in (0.001, 1 / 60, 0.05))
    assert strict == finest
    # A pair of people meets in at most half of the splits, and is then one search in 600.
    assert 0 < finest.fpir <= 1 / 60 + 1e-9
    assert 0.05 - 1 / 60 < loose.fpir <= 0.05 + 1e-9
    assert strict.similarity > loose.similarity


def test_agrees_with_searching_one_by_one() -> None:
    """FNIR and FPIR counted search by search, from their definitions."""
    subjects = [f"s{i}" for i in (0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8)]
    codes = codes_of(subjects)
    people = unit_vectors(9, 3, 6)[codes]
    gallery = people + 0.5 * unit_vectors(11, 4, 6)
    originals, probes = people + 0.5 * unit_vectors(11, 5, 6), people + 0.9 * unit_vectors(11, 6, 6)
    enrolled = halves(9, 1)
    clear = similarity_to_subjects(originals, gallery, codes)
    at = threshold(clear, codes, enrolled, 0.2)

    alarms, hits = [], [[] for _ in subjects]
    for split in enrolled:
        photos = [row for row in range(11) if split[codes[row]]]
        for row in range(11):
            if split[codes[row]]:
                best = max(photos, key=lambda photo: probes[row] @ gallery[photo])
                hits[row].append(codes[best] == codes[row] and probes[row] @ gallery[best] >= at.similarity)
            else:
                # The threshold is one of these similarities, summed in another order.
                alarms.append(any(originals[row] @ gallery[photo] >= at.similarity - 1e-9 for photo in photos))
    assert np.mean(alarms) == pytest.approx(at.fpir)
    assert 0.2 - 1 / 11 < at.fpir <= 0.2 + 1e-9
    expected = [np.mean(outcomes) for outcomes in hits]
    similarity = similarity_to_subjects(probes, gallery, codes)
    np.testing.assert_allclose(found(similarity, codes, enrolled, at.similarity), expected)
    assert 0 < np.mean(expected) < 1


def test_the_track_on_rendered_people(build: Build, tmp_path: Path) -> None:
    track, release = OpenSet(CONFIG), Release.open(build.release)
    originals = release.imageset("validation")
    noise = track.prepare(release, tmp_path)
    metrics = {definition.name for definition in OpenSet.definitions if not definition.stated}
    assert {name for name in noise if "." not in name} == metrics

    nobody = np.zeros(originals.count, bool)
    through = track.measure(Sample(originals, originals, nobody), tmp_path)
    assert {name for name in through.scores if "." not in name} == metrics
    assert through.scores["rank_1"].mean() > 0.8
    assert (through.scores["rank_1"] <= through.scores["rank_5"]).all()
    assert (through.scores["rank_5"] <= through.scores["rank_10"]).all()
    assert through.scores["fnir_1"].mean() < 0.5
    assert (through.scores["fnir_5"] <= through.scores["fnir_1"]).all()
    finest = 1 / len({record.subject_id for record in originals.records()})
    assert 0 < through.stated["fpir_1.phantom-sphereface"].value <= finest + 1e-9
    again = track.measure(Sample(originals, originals, nobody), tmp_path)
    for name, column in through.scores.items():
        np.testing.assert_array_equal(again.scores[name], column)

    failed = track.measure(Sample(originals, originals, ~nobody), tmp_path)
    assert not failed.scores["fnir_1"].any() and not failed.scores["fnir_5.phantom-sphereface"].any()
    assert (failed.scores["rank_1"] == 1).all()

    faces = list(originals.faces())
    strangers = [face._replace(image=faces[row - 1].image) for row, face in enumerate(faces)]
    swapped = write_imageset(tmp_path / "swapped", len(faces), lambda start, stop: strangers[start:stop], config={})
    hidden = track.measure(Sample(originals, swapped, nobody), tmp_path)
    assert hidden.scores["fnir_1"].mean() > 0.9
    assert hidden.scores["rank_1"].mean() < 0.2
    rules = {definition.name: definition for definition in OpenSet.definitions}
    for measured in (through, failed, hidden):
        for name, column in measured.scores.items():
            assert not rules[name.partition(".")[0]].stated and 0 <= column.min() <= column.max() <= 1
        assert all(rules[name.partition(".")[0]].stated for name in measured.stated)
