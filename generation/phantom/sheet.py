"""Contact sheets of the phantom, to be looked at: every sign at every severity, and patients over their
photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from generation.phantom.canvas import Array
from generation.phantom.population import Case, draw_patient
from generation.phantom.render import render_batch
from generation.phantom.shot import Shot
from mema.files import atomic_write
from mema.taxonomy import load_taxonomy

LABEL_HEIGHT = 16
TONE_GROUPS = ((1, 2, 3, 4), (5, 6, 7), (8, 9, 10))
"""Light, medium and dark steps of the Monk scale: signs must be seen on each."""


def signs_sheet(clinic: str, path: Path, *, size: int = 192, seed: int = 0, workers: int = 1) -> None:
    """Write a PNG of diseases (rows) by severity levels (columns), once on light, medium and dark skin.

    Each row and skin shows one subject from the front; ``size`` is a tile's side in pixels.
    """
    taxonomy = load_taxonomy(clinic)
    labels, jobs = [], []
    for disease in taxonomy.codes:
        for tones in TONE_GROUPS:
            subject = _first_patient(clinic, disease, tones, seed)
            for severity in taxonomy.severities:
                case = draw_patient(
                    "tests", clinic, subject, seed, disease=disease, severity=severity.midpoint, photos=(1, 1)
                )
                shot = Shot(seed=seed)
                labels.append(f"{disease} {severity.level}")
                jobs.append((case.subject, shot, case.finding))
    images = [photo.image for photo in render_batch(jobs, size=size, workers=workers)]
    _write_sheet(path, images, labels, columns=len(TONE_GROUPS) * len(taxonomy.severities))


def patient_sheet(
    path: Path,
    *,
    clinic: str = "eye_clinic",
    patients: int = 8,
    photos: int = 6,
    size: int = 192,
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Write a PNG with one row of ``photos`` shots for each of ``patients`` patients of a clinic."""
    cases = [draw_patient("tests", clinic, index, seed, photos=(photos, photos)) for index in range(patients)]
    jobs = [(case.subject, shot, case.finding) for case in cases for shot in case.shots]
    images = [photo.image for photo in render_batch(jobs, size=size, workers=workers)]
    labels = [_describe(case) for case in cases for _ in case.shots]
    _write_sheet(path, images, labels, columns=photos)


def _first_patient(clinic: str, disease: str, tones: Sequence[int], seed: int) -> int:
    """Index of the first patient with this disease whose skin is of these tones."""
    return next(
        index
        for index in count()
        if draw_patient("tests", clinic, index, seed, disease=disease).subject.skin_tone in tones
    )


def _describe(case: Case) -> str:
    return f"{case.disease} {case.severity:.2f} {case.subject.gender[0]}{case.subject.age:.0f}"


def _write_sheet(path: Path, images: Sequence[Array], labels: Sequence[str], columns: int) -> None:
    size = images[0].shape[0]
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + LABEL_HEIGHT)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = number % columns * size, number // columns * (size + LABEL_HEIGHT)
        sheet.paste(Image.fromarray(np.asarray(image)), (left, top + LABEL_HEIGHT))
        draw.text((left + 3, top + 2), label, fill="black")
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    atomic_write(path, stream.getvalue())
