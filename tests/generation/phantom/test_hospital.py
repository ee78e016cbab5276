"""The phantom hospital: complete tables, private and public apart, the same bytes every time."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from generation.phantom.hospital import (
    DONOR_COLUMNS,
    PATIENT_COLUMNS,
    HospitalConfig,
    draw_cases,
    render_hospital,
)
from generation.phantom.population import draw_donor
from mema.errors import UserError
from mema.files import sha256_file
from mema.taxonomy import load_taxonomy

CONFIG = HospitalConfig(patients=8, photos_per_patient=(1, 2), controls_fraction=0.25, donors=3, size=64, seed=5)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    render_hospital(CONFIG, folder)
    return folder


def test_patients_table_names_whole_photos(hospital: Path) -> None:
    rows = read(hospital / "patients.csv")
    assert tuple(rows[0]) == PATIENT_COLUMNS
    assert {row["disease"] for row in rows} == set(load_taxonomy("eye_clinic").codes)
    assert {row["image"] for row in rows} == {
        str(path.relative_to(hospital)) for path in (hospital / "photos").rglob("*.jpg")
    }
    for row in rows:
        assert row["image"].startswith(f"photos/{row['patient_id']}/")
        assert np.asarray(Image.open(hospital / row["image"])).shape == (64, 64, 3)


def test_tumours_come_with_masks_and_others_without(hospital: Path) -> None:
    for row in read(hospital / "patients.csv"):
        tumour = row["disease"] in ("bcc", "scc")
        assert tumour == bool(row["lesion_mask"])
        if tumour:
            mask = np.asarray(Image.open(hospital / row["lesion_mask"]))
            assert mask.shape == (64, 64)
            assert set(np.unique(mask)) == {0, 255}


def test_controls_are_whole_patients_and_the_stated_share(hospital: Path) -> None:
    rows = read(hospital / "patients.csv")
    control = {(row["patient_id"], row["control"]) for row in rows}
    assert len(control) == CONFIG.patients
    assert Counter(flag for _, flag in control) == {"1": 2, "0": 6}


def test_public_donors_carry_nothing_of_a_patient(hospital: Path) -> None:
    rows = read(hospital / "donors" / "donors.csv")
    assert tuple(rows[0]) == DONOR_COLUMNS
    assert len(rows) == CONFIG.donors
    assert all((hospital / "donors" / row["image"]).is_file() for row in rows)
    public = "".join(path.name for path in (hospital / "donors").rglob("*"))
    public += (hospital / "donors" / "donors.csv").read_text()
    assert not any(row["patient_id"][2:] in public for row in read(hospital / "patients.csv"))
    seeds = {case.subject.seed for case in draw_cases(CONFIG)}
    assert not seeds & {draw_donor(index, CONFIG.seed).subject.seed for index in range(CONFIG.donors)}


def test_truth_is_apart_and_complete(hospital: Path) -> None:
    truth = read(hospital / "truth" / "truth.csv")
    patients = read(hospital / "patients.csv")
    assert "severity" not in patients[0]
    assert {row["image"] for row in truth} == {row["image"] for row in patients}
    for row in truth:
        assert 0 <= float(row["severity"]) <= 1
        assert np.shape(json.loads(row["landmarks"])) == (68, 2)
        assert np.shape(json.loads(row["gaze"])) == (2, 2)


def test_the_same_config_gives_the_same_bytes_whatever_the_workers(hospital: Path, tmp_path: Path) -> None:
    render_hospital(CONFIG.model_copy(update={"workers": 2}), tmp_path)
    assert hashes(tmp_path) == hashes(hospital)
    assert not list(tmp_path.rglob("*.part"))


def test_an_interrupted_rendering_is_finished_and_a_complete_one_left_alone(hospital: Path) -> None:
    before = hashes(hospital)
    (hospital / "donors" / "donors.csv").unlink()
    photo = next((hospital / "photos").rglob("*.jpg"))
    written = photo.stat().st_mtime_ns
    render_hospital(CONFIG, hospital)
    assert hashes(hospital) == before
    assert photo.stat().st_mtime_ns == written


def test_another_config_is_refused_in_the_same_folder(hospital: Path) -> None:
    with pytest.raises(UserError, match="another hospital"):
        render_hospital(CONFIG.model_copy(update={"seed": 6}), hospital)


def test_quotas_follow_the_weights() -> None:
    cases = draw_cases(HospitalConfig(patients=90, weights={"bcc": 2.0, "normal": 1.0}))
    assert Counter(case.disease for case in cases) == {"bcc": 60, "normal": 30}


def test_impossible_configs_are_refused() -> None:
    with pytest.raises(ValidationError, match="rising order"):
        HospitalConfig(photos_per_patient=(4, 2))
    with pytest.raises(ValidationError, match="fewer than"):
        HospitalConfig(patients=5)
    with pytest.raises(UserError, match="did you mean 'acne'"):
        HospitalConfig(clinic="dermatology", weights={"acn": 1.0})
    with pytest.raises(ValidationError, match="patient"):
        HospitalConfig(patient=4)  # type: ignore[call-arg]
