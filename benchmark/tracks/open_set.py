"""Open-set identification: somebody searches for a de-identified face in a gallery in which the person may not be.

Terms of ISO/IEC 19795-1 and NIST's FRVT 1:N. Half of the subjects are enrolled in the gallery, by another photo each; a
probe is *mated* if its subject is, else *non-mated*. FPIR(T) is the share of non-mated searches that return anybody at
or above the similarity T; FNIR(T) is the share of mated searches that do not return the probe's own subject, first and
at or above T (rank 1). T is set on non-mated *original* probes: who searches has calibrated on clear photos.

Every split into halves is used both ways, so that each image is mated in half of the searches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

# Random halvings of the subjects, each used both ways.
HALVINGS = 10
RATES = {"1": 0.01, "5": 0.05}
RANKS = (1, 5, 10)
# How often prepare repeats the searches of the originals, with other photos and other halves, to see their noise.
REPEATS = 3
# Shares closer than this are equal: differences of them carry no more.
EQUAL = 1e-9


class Threshold(NamedTuple):
    """A ``similarity`` that a share ``fpir`` of the non-mated searches with originals reaches."""

    similarity: float
    fpir: float


def _miss(level: str) -> Definition:
    return Definition(
        f"fnir_{level}",
        f"FNIR at FPIR {level} %",
        True,
        True,
        "Share of mated searches in which the strongest of the held-out recognisers misses the person: half of the "
        "subjects are enrolled by another photo, and what is found must be first and above the threshold that lets "
        f"{level} % of the searches for others return somebody, or one subject in all if that is more.",
    )


def _reached(level: str) -> Definition:
    return Definition(
        f"fpir_{level}",
        f"FPIR in force for {level} %",
        False,
        True,
        "Share of searches with clear photos of people who are not enrolled that return somebody at the threshold in "
        "force: the nearest below the rate asked for that so few people allow. Of N none below 1/N can be told.",
        whole=False,
        stated=True,
    )


def _rank(rank: int) -> Definition:
    return Definition(
        f"rank_{rank}",
        f"Rank {rank}",
        False,
        True,
        f"Closed-set matching rate (MeMa, Table 6): share of searches in which the person is among the first {rank} of "
        "a gallery of another photo of everybody, by the strongest of the held-out recognisers.",
    )


class OpenSet:
    """Open-set and closed-set searches for de-identified faces, by every held-out recogniser."""

    title: ClassVar[str] = "Open-set matching"
    table: ClassVar[str] = "Table 6"
    definitions: ClassVar[tuple[Definition, ...]] = (
        *(_miss(level) for level in RATES),
        *(_reached(level) for level in RATES),
        *(_rank(rank) for rank in RANKS),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self.config = config

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Write the recognisers' vectors; UserError for fewer than four subjects in the validation split."""
        validation = release.imageset("validation")
        subjects = [record.subject_id for record in validation.records()]
        halves(len(set(subjects)), self.config.seed)
        keep_vectors(validation, folder, self.config)
        repeats: dict[str, list[float]] = {}
        for seed in range(self.config.seed, self.config.seed + REPEATS):
            vectors = {name: vectors_of(validation, name, self.config, seed) for name in self.config.recognisers}
            probes = {name: one.originals for name, one in vectors.items()}
            for name, column in _scores(probes, vectors, subjects, seed).items():
                repeats.setdefault(name, []).append(float(column.mean()))
        return {name: float(np.std(values, ddof=1)) for name, values in repeats.items()}

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Measure; a failed image is found in every search."""
        subjects = [record.subject_id for record in sample.originals.records()]
        vectors = kept_vectors(folder, self.config)
        probes = {name: probe_vectors(sample, name, one.originals, self.config) for name, one in vectors.items()}
        scores = _scores(probes, vectors, subjects, self.config.seed)
        worst = {definition.name: float(not definition.higher_is_better) for definition in self.definitions}
        for name, column in scores.items():
            column[sample.failed] = worst[name.partition(".")[0]]
        codes = codes_of(subjects)
        enrolled = halves(codes.max() + 1, self.config.seed)
        stated = {}
        for name, one in vectors.items():
            clear = similarity_to_subjects(one.originals, one.others, codes)
            for level, rate in RATES.items():
                stated[f"fpir_{level}.{name}"] = Stated(threshold(clear, codes, enrolled, rate).fpir)
        return Measured(scores, stated)


def codes_of(subjects: Sequence[str]) -> np.ndarray:
    """Return the number of each image's subject, int (N,), from 0 in order of appearance."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(subjects))}
    return np.array([numbers[name] for name in subjects])


def halves(subjects: int, seed: int) -> np.ndarray:
    """Return which of ``subjects`` are enrolled in each split, bool (2 x HALVINGS, S); each is in half of them.

    UserError for fewer than four: two must be enrolled and two not.
    """
    if subjects < 4:
        raise UserError(f"open-set matching needs four subjects in the validation split, which has {subjects}")
    random = np.random.default_rng(seed)
    first = np.stack([random.permutation(subjects) < subjects // 2 for _ in range(HALVINGS)])
    return np.concatenate([first, ~first])


def similarity_to_subjects(probes: np.ndarray, gallery: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return how similar each probe is to each subject's most similar photo, float64 (N, S).

    ``probes`` and ``gallery`` are unit vectors (N, D), row i of both of subject ``codes[i]``.
    """
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    product = probes.astype(np.float64) @ gallery[order].astype(np.float64).T
    best: np.ndarray = np.maximum.reduceat(product, starts, axis=1)
    return best


def threshold(clear: np.ndarray, codes: np.ndarray, enrolled: np.ndarray, rate: float) -> Threshold:
    """Return the least strict threshold that at most a share ``rate`` of the non-mated searches reaches, in all splits.

    ``clear`` (N, S) is what ``similarity_to_subjects`` says of the originals, ``enrolled`` what ``halves`` does. A rate
    finer than one subject in S is taken for that. One pair of people meets in several splits, so that rates move in
    steps: ``fpir`` says which is in force.
    """
    returned = np.sort(np.concatenate([clear[~split[codes]][:, split].max(axis=1) for split in enrolled]))
    reached = 1.0 - np.searchsorted(returned, returned - TIE) / len(returned)
    allowed = reached <= max(rate, 1 / clear.shape[1]) + EQUAL
    # The most similar decide also where they are too many: photos that are there twice.
    allowed[-1] = True
    place = int(np.argmax(allowed))
    return Threshold(float(returned[place]), float(reached[place]))


def found(similarity: np.ndarray, codes: np.ndarray, enrolled: np.ndarray, at: float) -> np.ndarray:
    """Return the share of a probe's mated searches that return its subject first and at least ``at`` similar, (N,).

    Of subjects that are equally similar each is first with the same chance.
    """
    mated = enrolled[:, codes]
    hits = np.zeros(len(codes))
    for split, rows in zip(enrolled, mated, strict=True):
        searched = similarity[rows]
        own = searched[np.arange(len(searched)), codes[rows]]
        first = _chance(searched[:, split], own, 1)
        hits[rows] += np.where(own >= at - TIE, first, 0.0)
    share: np.ndarray = hits / mated.sum(axis=0)
    return share


def ranked(similarity: np.ndarray, codes: np.ndarray, rank: int) -> np.ndarray:
    """Return the chance that a probe's subject is among the first ``rank`` of all, (N,); ties as in ``found``."""
    return _chance(similarity, similarity[np.arange(len(codes)), codes], rank)


def _chance(similarity: np.ndarray, own: np.ndarray, rank: int) -> np.ndarray:
    """Return the chance, (N,), that ``own`` is among the first ``rank`` of the columns of ``similarity`` (N, S)."""
    before = (similarity > own[:, None] + TIE).sum(axis=1)
    tied = (np.abs(similarity - own[:, None]) <= TIE).sum(axis=1)
    return np.clip((rank - before) / tied, 0.0, 1.0)


def _scores(
    probes: Mapping[str, np.ndarray], vectors: Mapping[str, Vectors], subjects: Sequence[str], seed: int
) -> dict[str, np.ndarray]:
    """Return the scores of ``probes``, unit vectors (N, D) by recogniser, float (N,) by metric and part."""
    codes = codes_of(subjects)
    enrolled = halves(codes.max() + 1, seed)
    hits: dict[str, dict[str, np.ndarray]] = {}
    for name, (originals, others) in vectors.items():
        clear = similarity_to_subjects(originals, others, codes)
        similarity = similarity_to_subjects(probes[name], others, codes)
        for level, rate in RATES.items():
            at = threshold(clear, codes, enrolled, rate).similarity
            hits.setdefault(f"fnir_{level}", {})[name] = found(similarity, codes, enrolled, at)
        for rank in RANKS:
            hits.setdefault(f"rank_{rank}", {})[name] = ranked(similarity, codes, rank)
    scores = {}
    for metric, columns in hits.items():
        for name, column in {"": strongest(list(columns.values())), **columns}.items():
            key = f"{metric}.{name}" if name else metric
            scores[key] = 1.0 - column if metric.startswith("fnir") else column.copy()
    return scores
