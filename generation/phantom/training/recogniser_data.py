"""Photos for the instruments, recognisers and disease classifiers alike: people whom no hospital treats.

They are rendered once and kept as a plain array. Nobody here is a patient, a donor or an attacker's subject
(``population.POPULATIONS``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from generation.phantom.population import Case, draw_donor
from generation.phantom.render import render_batch
from mema.taxonomy import load_taxonomy, taxonomies

SIZE = 128


class Photos(NamedTuple):
    """``images`` uint8 RGB (N, SIZE, SIZE, 3), a memory map, and what each shows: a case with a single shot."""

    images: np.ndarray
    cases: list[Case]

    @property
    def people(self) -> list[int]:
        """The seed of each photo's person."""
        return [case.subject.seed for case in self.cases]


def instrument_cases(people: int, shots: int, *, seed: int = 0, first: int = 0) -> list[Case]:
    """Draw ``shots`` photos of each of ``people`` persons from number ``first`` on, as cases with a single shot.

    A person is well in every third photo, an eye patient in the next and a skin patient in the next, with diseases
    that do not repeat: a recogniser that saw each person always well, or always with one disease, would take the
    disease for a trait. Diseases are equally often in every age, gender and tone: who gets a disease tells the
    classifier nothing, so it must read the sign.
    """
    return [case for person in range(first, first + people) for case in _person(person, seed, shots)]


def rendered(cases: Sequence[Case], path: Path, *, workers: int = 1) -> np.ndarray:
    """Render ``cases`` of a single shot into ``path`` (.npy) unless it is there; return a read-only memory map."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        images = np.lib.format.open_memmap(part, "w+", np.uint8, (len(cases), SIZE, SIZE, 3))
        photos = render_batch(jobs(cases), size=SIZE, workers=workers)
        for row, photo in enumerate(tqdm(photos, total=len(cases), desc=path.stem, unit="photo")):
            images[row] = photo.image
        images.flush()
        part.replace(path)
    whole: np.ndarray = np.load(path, mmap_mode="r")
    return whole


def jobs(cases: Sequence[Case]) -> list:
    """Return what ``render_batch`` takes for ``cases`` of a single shot."""
    return [(case.subject, case.shots[0], case.finding) for case in cases]


def instrument_photos(people: int, shots: int, cache: Path, *, seed: int = 0, workers: int = 1) -> Photos:
    """Return ``instrument_cases(people, shots, seed=seed)`` with their photos, rendered into ``cache`` once."""
    cases = instrument_cases(people, shots, seed=seed)
    images = rendered(cases, cache / f"instruments-{people}x{shots}-{seed}.npy", workers=workers)
    return Photos(images, cases)


def _person(index: int, seed: int, shots: int) -> list[Case]:
    healthy = draw_donor(index, seed, population="instruments", photos=shots)
    random = np.random.default_rng([healthy.subject.seed, 0x111])
    waiting = {
        clinic: [code for code in random.permutation(load_taxonomy(clinic).codes) if code != "normal"]
        for clinic in taxonomies()
    }
    turns = ("none", *sorted(waiting, reverse=True))
    cases = []
    for number, shot in enumerate(healthy.shots):
        clinic = turns[number % len(turns)]
        case = replace(healthy, shots=(shot,))
        if clinic != "none":
            disease = str(waiting[clinic][number // len(turns) % len(waiting[clinic])])
            case = replace(case, clinic=clinic, disease=disease, severity=float(random.uniform()))
        cases.append(case)
    return cases
