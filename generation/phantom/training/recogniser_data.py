"""Photos for the instruments: people whom no hospital treats, rendered once and kept as plain arrays.

Nobody here is a patient, a donor or a judge's patient (``population.POPULATIONS``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from generation.phantom.anatomy import Subject
from generation.phantom.canvas import Finding
from generation.phantom.population import Case, draw_donor, draw_patient
from generation.phantom.render import render_batch
from generation.phantom.shot import Shot
from generation.phantom.signs import find
from mema.taxonomy import load_taxonomy, taxonomies

SIZE = 128
Job = tuple[Subject, Shot, Finding]


class Photos(NamedTuple):
    """``images`` uint8 RGB (N, SIZE, SIZE, 3), a memory map, and for each the number of its person, int64 (N,)."""

    images: np.ndarray
    people: np.ndarray


def instrument_photos(
    people: int, shots: int, cache: Path, *, seed: int = 0, first: int = 0, workers: int = 1
) -> Photos:
    """Return ``shots`` photos of each of ``people`` persons from number ``first`` on, rendered into ``cache`` once.

    Every other person is ill in half of the photos, with diseases of all clinics: a recogniser that saw each person
    always well, or always ill, would take a disease for a trait.
    """
    jobs = [job for person in range(first, first + people) for job in _person(person, seed, shots)]
    images = rendered(jobs, cache / f"instruments-{seed}-{first}-{people}x{shots}.npy", workers=workers)
    return Photos(images, np.repeat(np.arange(people), shots))


def judge_cases(clinic: str, patients: int, photos: int, *, seed: int = 0, first: int = 0) -> list[Case]:
    """Draw judges' patients of ``clinic`` from number ``first`` on, all diseases equally often."""
    codes = load_taxonomy(clinic).codes
    return [
        draw_patient("judges", clinic, index, seed, disease=codes[index % len(codes)], photos=(photos, photos))
        for index in range(first, first + patients)
    ]


def jobs_of(cases: Sequence[Case]) -> list[Job]:
    """Return what to render for all photos of ``cases``, in order."""
    return [(case.subject, shot, case.finding) for case in cases for shot in case.shots]


def rendered(jobs: Sequence[Job], path: Path, *, workers: int = 1) -> np.ndarray:
    """Render ``jobs`` into ``path`` (.npy) unless it is there; return it as a read-only memory map."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        images = np.lib.format.open_memmap(part, "w+", np.uint8, (len(jobs), SIZE, SIZE, 3))
        photos = render_batch(jobs, size=SIZE, workers=workers)
        for row, photo in enumerate(tqdm(photos, total=len(jobs), desc=path.stem, unit="photo")):
            images[row] = photo.image
        images.flush()
        part.replace(path)
    whole: np.ndarray = np.load(path, mmap_mode="r")
    return whole


def _person(index: int, seed: int, shots: int) -> list[Job]:
    case = draw_donor(index, seed, population="instruments", photos=shots)
    findings = [Finding()] * shots
    if index % 2:
        random = np.random.default_rng([case.subject.seed, 0x111])
        codes = [code for clinic in taxonomies() for code in load_taxonomy(clinic).codes]
        for shot in range(shots // 2, shots):
            code, severity = codes[int(random.integers(len(codes)))], float(random.uniform())
            findings[shot] = find(code, severity, case.subject, case.subject.seed + shot)
    return [(case.subject, shot, finding) for shot, finding in zip(case.shots, findings, strict=True)]
