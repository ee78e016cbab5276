"""Verification in the protocol of Labeled Faces in the Wild (Huang et al. 2007, its view 2).

Do a clear and a de-identified photo show one person? Ten folds of disjoint subjects; the rule that decides is learnt
on nine and tried on the tenth, each in turn. In a fold every clear photo meets every de-identified one; same and
different pairs weigh the same, which is the expectation of LFW's equal numbers drawn at random.

The rule is a threshold on the similarity and the side of it that means "the same": a method that drives a photo
further from its own person than from strangers would be found out by a verifier that knows it. So no accuracy below
one half is to be had but by luck, and one half is the best for privacy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.tracks.identity import TIE
from benchmark.tracks.protocol import Measured, Sample, Stated
from benchmark.tracks.vectors import Vectors, keep_vectors, kept_vectors, probe_vectors, strongest, vectors_of
from mema.errors import UserError
from mema.release import Release

FOLDS = 10
# How often prepare repeats the protocol on the originals, with other photos and other folds, to see its noise.
REPEATS = 3
# Accuracies closer than this are equal: sums of weights carry no more.
EQUAL = 1e-9


class Rule(NamedTuple):
    """Two photos show one person if their similarity is at least ``threshold``; or below it, if ``reversed``."""

    threshold: float
    reversed: bool = False

    def same(self, similarity: np.ndarray) -> np.ndarray:
        """Return bool, in the shape of ``similarity``: which pairs are taken for one person."""
        return (similarity >= self.threshold) != self.reversed


class Pairs(NamedTuple):
    """Pairs of photos (P,): how similar, whether of the ``same`` subject, which ``probe``, and what share of it.

    The ``weight`` of a probe's pairs sums to 1, that of its pairs of the same subject to one half.
    """

    similarity: np.ndarray
    same: np.ndarray
    probe: np.ndarray
    weight: np.ndarray


class Verification:
    """Accuracy of every held-out recogniser on (clear, de-identified) pairs, and on pairs of two clear photos."""

    title: ClassVar[str] = "Verification (LFW)"
    table: ClassVar[str] = ""
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "lfw_accuracy",
            "Verification accuracy",
            False,
            True,
            "How often the best of the held-out recognisers decides rightly whether a de-identified and a clear photo "
            "show one person: LFW's protocol, ten folds of disjoint subjects. 50 % is guessing, and the best privacy "
            "there is: what lies below it is luck, since the verifier may learn to read itself backwards. Compare with "
            "two clear photos.",
        ),
        Definition(
            "lfw_error",
            "Standard error over folds",
            False,
            True,
            "LFW's standard error of the accuracy: the standard deviation of the folds' accuracies over the root of "
            "their number.",
            highest=0.5,
            stated=True,
        ),
        Definition(
            "lfw_clear",
            "Two clear photos",
            True,
            True,
            "The same of pairs of clear photos, the original in the place of the de-identified: what the recogniser is "
            "capable of on these faces, whatever the method.",
        ),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self.config = config

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Write the recognisers' vectors; UserError for fewer than four subjects in the validation split."""
        validation = release.imageset("validation")
        subjects = [record.subject_id for record in validation.records()]
        seeds = range(self.config.seed, self.config.seed + REPEATS)
        folds = {seed: deal(subjects, seed) for seed in seeds}
        keep_vectors(validation, folder, self.config)
        repeats = {
            f".{name}": [
                float(clear_accuracy(vectors_of(validation, name, self.config, seed), subjects, folds[seed]).mean())
                for seed in seeds
            ]
            for name in self.config.recognisers
        }
        repeats[""] = np.max(list(repeats.values()), axis=0).tolist()
        return {
            f"{metric}{part}": float(np.std(values, ddof=1))
            for metric in ("lfw_accuracy", "lfw_clear")
            for part, values in repeats.items()
        }

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Measure; a failed image is verified without fault."""
        subjects = [record.subject_id for record in sample.originals.records()]
        folds = deal(subjects, self.config.seed)
        scores: dict[str, np.ndarray] = {}
        for name, kept in kept_vectors(folder, self.config).items():
            probes = probe_vectors(sample, name, kept.originals, self.config)
            accuracy = verified(probes, kept.others, subjects, folds)
            scores[f"lfw_accuracy.{name}"] = np.where(sample.failed, 1.0, accuracy)
            scores[f"lfw_clear.{name}"] = clear_accuracy(kept, subjects, folds)
        for kind in ("lfw_accuracy", "lfw_clear"):
            scores[kind] = strongest([scores[f"{kind}.{name}"] for name in self.config.recognisers])
        stated = {
            name.replace("lfw_accuracy", "lfw_error"): Stated(standard_error(column, folds))
            for name, column in scores.items()
            if name.startswith("lfw_accuracy")
        }
        return Measured(scores, stated)


def deal(subjects: Sequence[str], seed: int, folds: int = FOLDS) -> np.ndarray:
    """Return the fold of each image, int (N,): subjects are dealt at random, equally many to each fold or one more.

    Of fewer than twenty subjects fewer folds are made, since each needs two; UserError for fewer than four subjects.
    """
    names = list(dict.fromkeys(subjects))
    if len(names) < 4:
        raise UserError(f"verification needs four subjects in the validation split, which has {len(names)}")
    order = np.random.default_rng(seed).permutation(len(names))
    dealt = {names[place]: number % min(folds, len(names) // 2) for number, place in enumerate(order)}
    return np.array([dealt[subject] for subject in subjects])


def clear_accuracy(vectors: Vectors, subjects: Sequence[str], folds: np.ndarray) -> np.ndarray:
    """Return what ``verified`` says of pairs of an original and another photo, (N,)."""
    return verified(vectors.originals, vectors.others, subjects, folds)


def verified(probes: np.ndarray, gallery: np.ndarray, subjects: Sequence[str], folds: np.ndarray) -> np.ndarray:
    """Return how far each probe's pairs are decided rightly, in [0, 1], (N,); the mean is the accuracy.

    ``probes`` and ``gallery`` are unit vectors (N, D), row i of both of ``subjects[i]``. A score is the mean of the
    share of a probe's pairs of the same subject, and of that of its pairs of different ones, that are decided rightly.
    """
    pairs = [_pairs(probes, gallery, subjects, np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
    right, made = np.zeros((2, len(probes))), np.zeros((2, len(probes)))
    for number, tested in enumerate(pairs):
        decided = learn([*pairs[:number], *pairs[number + 1 :]]).same(tested.similarity)
        for kind in (0, 1):
            of_kind = tested.same == bool(kind)
            made[kind] += np.bincount(tested.probe[of_kind], minlength=len(probes))
            right[kind] += np.bincount(tested.probe[of_kind & (decided == tested.same)], minlength=len(probes))
    scores: np.ndarray = (right / made).mean(axis=0)
    return scores


def learn(pairs: Sequence[Pairs]) -> Rule:
    """Return the rule that decides most of the ``pairs`` rightly, by weight; of equally good ones the strictest."""
    similarity = np.concatenate([one.similarity for one in pairs])
    order = np.argsort(similarity, kind="stable")
    similarity = similarity[order]
    gain = np.concatenate([np.where(one.same, -one.weight, one.weight) for one in pairs])[order]
    # How far the share decided rightly is above one half when the k least similar pairs count as different people.
    above = np.concatenate([[0.0], np.cumsum(gain)])
    between = np.concatenate([[True], np.diff(similarity) > TIE, [True]])
    thresholds = np.concatenate([[-np.inf], (similarity[:-1] + similarity[1:]) / 2, [np.inf]])[between]
    above = above[between]
    if -above.min() > above.max() + EQUAL:
        return Rule(float(thresholds[above <= above.min() + EQUAL][0]), reversed=True)
    return Rule(float(thresholds[above >= above.max() - EQUAL][-1]))


def standard_error(scores: np.ndarray, folds: np.ndarray) -> float:
    """Return the standard error over folds of the mean of ``scores`` (N,), S_E of LFW's report."""
    means = [scores[folds == fold].mean() for fold in np.unique(folds)]
    return float(np.std(means, ddof=1) / np.sqrt(len(means)))


def _pairs(probes: np.ndarray, gallery: np.ndarray, subjects: Sequence[str], rows: np.ndarray) -> Pairs:
    """Return all pairs of a probe and a gallery photo of ``rows``."""
    names = np.asarray(subjects)[rows]
    same = names[:, None] == names[None, :]
    similarity = probes[rows].astype(np.float64) @ gallery[rows].astype(np.float64).T
    share = np.where(same, same.sum(axis=1, keepdims=True), (~same).sum(axis=1, keepdims=True))
    return Pairs(similarity.ravel(), same.ravel(), np.repeat(rows, len(rows)), (0.5 / share).ravel())
