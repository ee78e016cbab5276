"""LFW's protocol on vectors whose answer is known, and on rendered people."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmark.attacks.material import write_other_photos
from benchmark.config import BenchmarkConfig
from benchmark.tracks.protocol import Sample
from benchmark.tracks.vectors import kept_vectors
from benchmark.tracks.verification import Pairs, Rule, Verification, deal, learn, standard_error, verified
from mema.build import Build
from mema.errors import UserError
from mema.faces.recognisers import recogniser
from mema.imageset import ImageSet, write_imageset
from mema.release import Release

CONFIG = BenchmarkConfig(recognisers=("phantom-sphereface",))


def unit_vectors(count: int, seed: int, dimension: int = 32) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near(vectors: np.ndarray, noise: float, seed: int) -> np.ndarray:
    moved = vectors + noise * unit_vectors(*vectors.shape[:1], seed, vectors.shape[1])
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def names(count: int) -> list[str]:
    return [f"s{i}" for i in range(count)]


def test_folds_share_no_subject_and_are_of_one_size() -> None:
    subjects = [f"s{i % 63}" for i in range(100)]
    folds = deal(subjects, 3)
    of_subject = {subject: set(folds[np.array(subjects) == subject]) for subject in subjects}
    assert all(len(numbers) == 1 for numbers in of_subject.values())
    sizes = np.bincount([numbers.pop() for numbers in of_subject.values()])
    assert sorted(sizes) == [6] * 7 + [7] * 3
    assert np.array_equal(folds, deal(subjects, 3)) and not np.array_equal(folds, deal(subjects, 4))
    assert deal(names(9), 0).max() == 3
    with pytest.raises(UserError, match="four subjects"):
        deal(names(3), 0)


def test_vectors_that_know_nothing_are_right_half_the_time() -> None:
    accuracies = []
    for seed in range(8):
        subjects = names(100)
        scores = verified(unit_vectors(100, 2 * seed), unit_vectors(100, 2 * seed + 1), subjects, deal(subjects, seed))
        accuracies.append(scores.mean())
    # A hundred pairs of the same subject have a standard deviation of 0.025 about one half; eight means of them 0.01.
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.03)


def test_one_output_for_all_is_exactly_a_guess() -> None:
    subjects, gallery = names(60), unit_vectors(60, 1)
    probes = np.repeat(unit_vectors(1, 2), 60, axis=0)
    folds = deal(subjects, 0)
    scores = verified(probes, gallery, subjects, folds)
    assert scores == pytest.approx(np.full(60, 0.5))
    assert standard_error(scores, folds) == pytest.approx(0)


def test_the_same_vectors_are_always_right() -> None:
    subjects, vectors = names(60), unit_vectors(60, 1)
    assert (verified(vectors, vectors, subjects, deal(subjects, 0)) == 1).all()


def test_pushing_people_away_from_themselves_hides_nobody() -> None:
    """Vectors that are nearest to everybody but their own person tell who that is."""
    subjects, vectors = names(60), unit_vectors(60, 1)
    assert verified(-vectors, vectors, subjects, deal(subjects, 0)).mean() > 0.99


def slow_accuracy(probes: np.ndarray, gallery: np.ndarray, subjects: list[str], folds: np.ndarray) -> np.ndarray:
    """Every threshold between two similarities tried on every pair, in loops."""

    def score(row: int, at: float, backwards: bool) -> float:
        halves: dict[bool, list[bool]] = {True: [], False: []}
        for other in np.flatnonzero(folds == folds[row]):
            same = subjects[row] == subjects[other]
            taken = (float(probes[row] @ gallery[other]) >= at) != backwards
            halves[same].append(taken == same)
        return (np.mean(halves[True]) + np.mean(halves[False])) / 2

    scores = np.zeros(len(subjects))
    for fold in sorted(set(folds)):
        train = np.flatnonzero(folds != fold)
        seen = sorted(float(probes[a] @ gallery[b]) for a in train for b in np.flatnonzero(folds == folds[a]))
        tried = [-np.inf, *((low + high) / 2 for low, high in pairwise(seen)), np.inf]
        # Straight ones first and of those the strictest.
        rules = [(at, False) for at in reversed(tried)] + [(at, True) for at in tried]
        accuracy = [round(float(np.mean([score(row, *rule) for row in train])), 9) for rule in rules]
        best = rules[int(np.argmax(accuracy))]
        for row in np.flatnonzero(folds == fold):
            scores[row] = score(row, *best)
    return scores


@pytest.mark.parametrize("sign", [1, -1])
def test_agrees_with_loops_over_folds_thresholds_and_pairs(sign: int) -> None:
    subjects = [f"s{i}" for i in (0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10)]
    people = unit_vectors(11, 5, 8)[[int(name[1:]) for name in subjects]]
    probes, gallery = sign * near(people, 1.2, 6), near(people, 0.6, 7)
    folds = deal(subjects, 2, folds=4)
    scores = verified(probes, gallery, subjects, folds)
    assert scores == pytest.approx(slow_accuracy(probes, gallery, subjects, folds), abs=1e-9)
    assert 0.5 < scores.mean() < 1


def test_the_rule_lies_between_what_it_parts() -> None:
    similarity, same = np.array([0.1, 0.3, 0.5, 0.9]), np.array([False, False, True, True])
    pairs = Pairs(similarity, same, np.array([0, 1, 0, 1]), np.full(4, 0.5))
    assert learn([pairs]) == Rule(pytest.approx(0.4))
    assert learn([pairs._replace(same=~same)]) == Rule(pytest.approx(0.4), reversed=True)


def test_more_noise_is_harder() -> None:
    subjects, people = names(100), unit_vectors(100, 1)
    folds = deal(subjects, 0)
    accuracies = [verified(near(people, noise, 2), people, subjects, folds).mean() for noise in (0.5, 3, 8)]
    assert accuracies[0] > accuracies[1] > accuracies[2] > 0.45


def test_the_track_on_rendered_people(build: Build, tmp_path: Path) -> None:
    track, release = Verification(CONFIG), Release.open(build.release)
    originals = release.imageset("validation")
    noise = track.prepare(release, tmp_path)
    assert set(noise) == {f"lfw_{kind}{part}" for kind in ("accuracy", "clear") for part in ("", ".phantom-sphereface")}
    assert all(0 <= value < 0.2 for value in noise.values())

    nobody = np.zeros(originals.count, bool)
    through = track.measure(Sample(originals, originals, nobody), tmp_path)
    assert through.scores["lfw_accuracy"].tolist() == through.scores["lfw_clear"].tolist()
    assert through.scores["lfw_clear"].mean() > 0.8
    assert 0 <= through.stated["lfw_error.phantom-sphereface"].value < 0.1

    black = write_imageset(
        tmp_path / "black",
        originals.count,
        lambda start, stop: [
            face._replace(image=np.zeros_like(face.image)) for face in list(originals.faces())[start:stop]
        ],
        config={},
    )
    hidden = track.measure(Sample(originals, black, nobody), tmp_path)
    assert hidden.scores["lfw_accuracy"] == pytest.approx(np.full(originals.count, 0.5))
    assert hidden.scores["lfw_clear"].tolist() == through.scores["lfw_clear"].tolist()
    failed = track.measure(Sample(originals, black, ~nobody), tmp_path)
    assert (failed.scores["lfw_accuracy"] == 1).all()
    rules = {definition.name: definition for definition in Verification.definitions}
    for measured in (through, hidden, failed):
        for name, column in measured.scores.items():
            assert not rules[name.partition(".")[0]].stated and 0 <= column.min() <= column.max() <= 1
        assert all(rules[name.partition(".")[0]].stated for name in measured.stated)


def test_the_other_photos_are_those_of_the_attackers_gallery(build: Build, tmp_path: Path) -> None:
    release = Release.open(build.release)
    originals = release.imageset("validation")
    Verification(CONFIG).prepare(release, tmp_path / "track")
    kept = kept_vectors(tmp_path / "track", CONFIG)["phantom-sphereface"]
    others: ImageSet = write_other_photos(originals, tmp_path / "others", CONFIG.seed)
    instrument = recogniser("phantom-sphereface")
    np.testing.assert_array_equal(kept.others, instrument.embed(others.images()).vectors)
    np.testing.assert_array_equal(kept.originals, instrument.embed(originals.images()).vectors)
