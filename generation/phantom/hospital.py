"""The phantom hospital: photo files and tables as a real hospital would hand them over, and a set of public
faces.

``render_hospital(HospitalConfig(clinic="eye_clinic"), folder)`` writes

- ``photos/<patient_id>/<n>.jpg``, ``masks/<patient_id>/<n>.png`` and ``patients.csv``: the private cohort. As
in MeMa, no severity is annotated; - ``donors/photos/<image>.jpg`` and ``donors/donors.csv``: healthy public
faces, nobody of whom is a patient; - ``truth/truth.csv``: what only a phantom knows (severity, gaze,
landmarks), for the calibration of instruments.

The same config gives the same bytes. Tables are written last: where one is, its photos are complete.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from generation.phantom.anatomy import Subject
from generation.phantom.canvas import Array
from generation.phantom.population import Case, Photography, draw_donor, draw_patient
from generation.phantom.render import Photo, render_batch
from mema.errors import UserError
from mema.files import atomic_write, read_json, write_json
from mema.taxonomy import load_taxonomy

WEIGHTS: dict[str, dict[str, float]] = {
    "eye_clinic": {
        "normal": 0.16,
        "conjunctivitis": 0.17,
        "strabismus": 0.15,
        "ptosis": 0.13,
        "tao": 0.12,
        "bcc": 0.10,
        "uveitis": 0.09,
        "scc": 0.08,
    },
    "dermatology": {
        "acne": 0.22,
        "atopic_dermatitis": 0.18,
        "normal": 0.17,
        "rosacea": 0.15,
        "seborrheic_dermatitis": 0.14,
        "psoriasis": 0.14,
    },
}
"""Share of a clinic's patients per disease when the config states none: uneven, as in a clinic, but none
rare."""

PATIENT_COLUMNS = ("patient_id", "image", "disease", "age", "gender", "skin_tone", "lesion_mask", "control")
DONOR_COLUMNS = ("image", "age", "gender", "skin_tone")
TRUTH_COLUMNS = ("image", "severity", "gaze", "landmarks")
JPEG_QUALITY = 95
_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class HospitalConfig(BaseModel):
    """What is rendered; unknown keys are an error.

    ``controls_fraction`` of each disease's patients are controls: rendered like the others, but no model may
    train on them. ``photography`` is ``"free"`` (any pose, light and background) or ``"clinical"`` (by a
    protocol); donors' photos are public and always free. ``size`` is the photos' side in pixels, ``workers``
    the number of processes (it changes no byte).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clinic: Literal["eye_clinic", "dermatology"] = "eye_clinic"
    patients: int = Field(default=240, ge=1, le=2**24)
    photos_per_patient: tuple[int, int] = (3, 6)
    photography: Photography = "free"
    controls_fraction: float = Field(default=0.2, ge=0, lt=1)
    donors: int = Field(default=240, ge=0, le=2**24)
    size: int = Field(default=128, ge=64, le=1024)
    seed: int = Field(default=0, ge=0, lt=2**16)
    workers: int = Field(default=1, ge=1)
    weights: dict[str, float] | None = None

    @model_validator(mode="after")
    def _possible(self) -> HospitalConfig:
        fewest, most = self.photos_per_patient
        if not 1 <= fewest <= most:
            raise ValueError(f"photos_per_patient {fewest}..{most} must be at least 1 and in rising order")
        for code, weight in self.disease_weights.items():
            load_taxonomy(self.clinic).index(code)
            if weight <= 0:
                raise ValueError(f"the weight of {code} must be positive; leave out what the clinic does not see")
        if self.patients < len(self.disease_weights):
            raise ValueError(f"{self.patients} patients are fewer than the {len(self.disease_weights)} diseases")
        return self

    @property
    def disease_weights(self) -> dict[str, float]:
        """The weights in force: the config's or the clinic's own."""
        return WEIGHTS[self.clinic] if self.weights is None else self.weights


def render_hospital(config: HospitalConfig, folder: Path) -> None:
    """Write patients, truth and donors below ``folder``; does nothing where they are complete already.

    Raises UserError when ``folder`` holds a hospital of another config.
    """
    render_patients(config, folder)
    render_donors(config, folder / "donors")


def render_patients(config: HospitalConfig, folder: Path) -> None:
    """Write ``photos/``, ``masks/``, ``truth/truth.csv`` and, last, ``patients.csv`` into ``folder``."""
    if _is_complete(config, folder, "patients.csv"):
        return
    cases = draw_cases(config)
    controls = _draw_controls(cases, config.controls_fraction)
    names = _draw_names("P", len(cases), config.seed)
    patients, truth = [], []
    for index, number, photo in _photos(config, cases, "patients"):
        image = f"photos/{names[index]}/{number}.jpg"
        atomic_write(folder / image, encode_jpeg(photo.image))
        mask = f"masks/{names[index]}/{number}.png" if photo.lesion.any() else ""
        if mask:
            atomic_write(folder / mask, encode_mask(photo.lesion))
        case = cases[index]
        patients.append((names[index], image, case.disease, *_person(case.subject), mask, int(index in controls)))
        truth.append((image, round(case.severity, 4), _json(photo.gaze), _json(photo.landmarks)))
    _write_table(folder / "truth" / "truth.csv", TRUTH_COLUMNS, truth)
    _write_table(folder / "patients.csv", PATIENT_COLUMNS, patients)


def render_donors(config: HospitalConfig, folder: Path) -> None:
    """Write ``photos/`` and, last, ``donors.csv`` into ``folder``: one photo of each of ``config.donors``
    people."""
    if _is_complete(config, folder, "donors.csv"):
        return
    cases = [draw_donor(index, config.seed) for index in range(config.donors)]
    names = _draw_names("D", len(cases), config.seed)
    rows = []
    for index, _, photo in _photos(config, cases, "donors"):
        image = f"photos/{names[index]}.jpg"
        atomic_write(folder / image, encode_jpeg(photo.image))
        rows.append((image, *_person(cases[index].subject)))
    _write_table(folder / "donors.csv", DONOR_COLUMNS, rows)


def draw_cases(config: HospitalConfig) -> list[Case]:
    """Return the hospital's patients: diseases by quota (largest remainders, each at least once),
    shuffled."""
    codes, weights = zip(*config.disease_weights.items(), strict=True)
    ideal = np.asarray(weights) / sum(weights) * (config.patients - len(codes))
    counts = 1 + np.floor(ideal).astype(int)
    counts[np.argsort(np.floor(ideal) - ideal, kind="stable")[: config.patients - counts.sum()]] += 1
    diseases = np.random.default_rng([config.seed, 1]).permutation(np.repeat(codes, counts))
    return [
        draw_patient(
            "patients",
            config.clinic,
            index,
            config.seed,
            disease=str(disease),
            photos=config.photos_per_patient,
            photography=config.photography,
        )
        for index, disease in enumerate(diseases)
    ]


def encode_jpeg(image: Array) -> bytes:
    """Return a uint8 (H, W, 3) image as JPEG, quality 95."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def encode_mask(mask: Array) -> bytes:
    """Return a bool (H, W) mask as a PNG of 0 and 255."""
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, "PNG")
    return stream.getvalue()


def _draw_controls(cases: Sequence[Case], fraction: float) -> set[int]:
    """Every disease gives its share of controls: walk the patients by disease in equal steps."""
    diseases = [case.disease for case in cases]
    count = round(fraction * len(diseases))
    by_disease = np.argsort(diseases, kind="stable")
    return {int(by_disease[step * len(diseases) // count]) for step in range(count)}


def _draw_names(letter: str, count: int, seed: int) -> list[str]:
    """Distinct names like P-7F3K2Q whose order says nothing about the patients'."""
    rng = np.random.default_rng([seed, ord(letter)])
    names: dict[str, None] = {}
    while len(names) < count:
        names[letter + "-" + "".join(rng.choice(list(_LETTERS), 6))] = None
    return list(names)


def _photos(config: HospitalConfig, cases: Sequence[Case], title: str) -> Iterator[tuple[int, int, Photo]]:
    """Yield (case index, photo number from 1, photo) for every shot of every case, under a progress bar."""
    places = [(index, number) for index, case in enumerate(cases) for number in range(1, len(case.shots) + 1)]
    jobs = [(case.subject, shot, case.finding) for case in cases for shot in case.shots]
    photos = render_batch(jobs, size=config.size, workers=config.workers)
    for place, photo in zip(places, tqdm(photos, total=len(jobs), desc=title, unit="photo"), strict=True):
        yield *place, photo


def _person(subject: Subject) -> tuple[int, str, int]:
    return int(subject.age), subject.gender, subject.skin_tone


def _json(numbers: Array) -> str:
    return json.dumps(np.round(numbers.astype(float), 3).tolist(), separators=(",", ":"))


def _is_complete(config: HospitalConfig, folder: Path, table: str) -> bool:
    """Whether ``table`` was written by the same config, which is otherwise noted in the folder."""
    resolved: dict[str, Any] = {
        **config.model_dump(mode="json", exclude={"workers"}),
        "weights": config.disease_weights,
    }
    note = folder / "config.json"
    if note.exists() and read_json(note) != resolved:
        raise UserError(f"{note}: another hospital was rendered here; choose an empty folder")
    if (folder / table).exists():
        return True
    write_json(note, resolved)
    return False


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(sorted(rows, key=lambda row: [str(cell) for cell in row]))
    atomic_write(path, stream.getvalue())
