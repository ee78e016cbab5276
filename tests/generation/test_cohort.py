"""The hospital's table: every bad row is reported, by row and column, and nothing of a patient is in the message."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from generation.cohort import build_cohort, load_cohort
from generation.donors import build_donors
from mema.build import Build
from mema.errors import UserError
from mema.taxonomy import load_taxonomy

HEADER = ["patient_id", "image", "disease", "age", "gender", "skin_tone", "lesion_mask", "control"]
GOOD = [
    ["Schmidt-61", "a1.jpg", "bcc", "61", "female", "2", "a1.png", "0"],
    ["Schmidt-61", "a2.jpg", "basal cell carcinoma", "61", "F", "2", "", "0"],
    ["Okafor-12", "b1.jpg", "Ptosis", "12.5", "male", "9", "", ""],
    ["Tanaka-70", "c1.jpg", "normal", "", "", "", "", "yes"],
]


@pytest.fixture
def hospital(tmp_path):
    """Folder with photos of 64 x 48 px, a mask for the first, and the table GOOD."""
    random = np.random.default_rng(0)
    for name in ("a1", "a2", "b1", "c1"):
        Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / f"{name}.jpg")
    mask = np.zeros((48, 64), np.uint8)
    mask[20:30, 25:40] = 255
    Image.fromarray(mask).save(tmp_path / "a1.png")
    write_table(tmp_path, GOOD)
    return tmp_path


def write_table(folder: Path, rows, header=HEADER, encoding="utf-8") -> Path:
    with (folder / "patients.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / "patients.csv"


def load(folder: Path):
    return load_cohort(folder / "patients.csv", load_taxonomy("eye_clinic"))


def problem(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load(folder)
    return str(error.value)


def change(row: int, column: str, value: str):
    """GOOD with one cell changed; ``row`` as in the message, the header being row 1."""
    rows = [list(line) for line in GOOD]
    rows[row - 2][HEADER.index(column)] = value
    return rows


def test_a_good_table(hospital):
    photos = load(hospital)
    assert [p.record.disease for p in photos] == ["bcc", "bcc", "ptosis", "normal"]
    assert [p.record.subject_id for p in photos] == ["patient-0001", "patient-0001", "patient-0002", "patient-0003"]
    assert [p.record.image_id for p in photos] == ["photo-000002", "photo-000003", "photo-000004", "photo-000005"]
    assert [p.control for p in photos] == [False, False, False, True]
    assert [p.record.gender for p in photos] == ["female", "female", "male", None]
    assert [p.record.age for p in photos] == [61.0, 61.0, 12.5, None]


def test_a_byte_order_mark_blank_lines_and_missing_optional_columns(hospital):
    rows = [row[:3] for row in GOOD[:2]] + [["", "", ""]] + [GOOD[2][:3]]
    write_table(hospital, rows, HEADER[:3], encoding="utf-8-sig")
    assert [p.record.image_id for p in load(hospital)] == ["photo-000002", "photo-000003", "photo-000005"]


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (3, "disease", "basal cel carcinoma", "row 3: disease: not one of eye_clinic; did you mean 'basal cell"),
        (3, "disease", "", "row 3: disease: empty"),
        (4, "patient_id", " ", "row 4: patient_id: empty"),
        (4, "image", "", "row 4: image: empty"),
        (4, "image", "nobody.jpg", "row 4: image: the photo is missing"),
        (4, "image", "../b1.jpg", "row 4: image: leads out of the folder of photos"),
        (4, "image", "/etc/passwd", "row 4: image: leads out of the folder of photos"),
        (4, "image", "b\0.jpg", "row 4: image: leads out of the folder of photos"),
        (3, "image", "a1.jpg", "row 3: image: the same file as row 2"),
        (3, "image", "./a1.jpg", "row 3: image: the same file as row 2"),
        (4, "age", "-1", "row 4: age: not between 0 and 120"),
        (4, "age", "nan", "row 4: age: not between 0 and 120"),
        (4, "age", "old", "row 4: age: not a number"),
        (4, "gender", "1", "row 4: gender: neither female nor male"),
        (4, "skin_tone", "11", "row 4: skin_tone: not between 1 and 10"),
        (4, "skin_tone", "2.5", "row 4: skin_tone: not a whole number"),
        (4, "control", "maybe", "row 4: control: neither 1 nor 0"),
        (3, "control", "1", "row 3: control: not the same in all rows of the patient"),
        (3, "gender", "male", "row 3: gender: not the same in all rows of the patient"),
        (4, "lesion_mask", "none.png", "row 4: lesion_mask: the mask is missing"),
    ],
)
def test_a_wrong_cell(hospital, row, column, value, message):
    write_table(hospital, change(row, column, value))
    text = problem(hospital)
    assert text.startswith("patients.csv: 1 of 4 rows cannot be used\n") and message in text


def jpeg(width: int, height: int, path: Path) -> None:
    Image.new("L", (width, height)).save(path, quality=5)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "the photo is truncated or damaged"),
        (lambda path: jpeg(1, 1, path), "the photo is 1x1: each side needs at least 32 pixels"),
        (lambda path: jpeg(20_000, 20_000, path), "the photo has more than 50,000,000 pixels"),
        (lambda path: jpeg(20_000, 40, path), "the photo is 20000x40: at most 10,000 a side"),
        (lambda path: path.write_text("%PDF-1.7 a letter about the patient"), "the file is not an image"),
        (lambda path: path.write_bytes(b""), "the file is not an image"),
        (lambda path: (path.unlink(), path.mkdir()), "the photo is a folder"),
    ],
)
def test_a_wrong_photo(hospital, spoil, message):
    spoil(hospital / "b1.jpg")
    text = problem(hospital)
    assert text.startswith("patients.csv: 1 of 4 rows cannot be used\nrow 4: image: ") and message in text


def test_the_same_picture_under_another_name_and_a_mask_of_another_size(hospital):
    (hospital / "c1.jpg").write_bytes((hospital / "a2.jpg").read_bytes())
    Image.new("L", (64, 47)).save(hospital / "a1.png")
    text = problem(hospital)
    assert "row 5: image: the same picture as row 3" in text
    assert "row 2: lesion_mask: not of the photo's size" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "patients.csv: empty"),
        (b"\n\n,,\n", "patients.csv: empty"),
        (b"patient_id,image,disease\n", "a header but no rows"),
        ("patient_id,image,disease\nJos\xe9,a1.jpg,bcc\n".encode("latin-1"), "byte 28 is not UTF-8"),
        ("patient_id,image,disease\n".encode("utf-16"), "byte 0 is not UTF-8"),
        (b"patient_id;image;disease\nx;a1.jpg;bcc\n", "columns must be separated by commas"),
        (b"patient_id,image\nx,a1.jpg\n", "no column disease"),
        (
            b"patient_id,image,disease,gendre\nx,a1.jpg,bcc,f\n",
            "unknown column 'gendre' (number 4); did you mean 'gender'",
        ),
        (b"patient_id,image,disease,age,age\nx,a1.jpg,bcc,1,1\n", "column 'age' occurs twice"),
        (b"patient_id,image,disease\nx,a1.jpg\n", "row 2: 2 cells where the header has 3"),
        (b'patient_id,image,disease\n"x,a1.jpg,bcc\n', "not a CSV table"),
    ],
)
def test_a_wrong_table(hospital, content, message):
    (hospital / "patients.csv").write_bytes(content)
    assert message in problem(hospital)


def test_a_missing_table(tmp_path):
    assert problem(tmp_path) == "patients.csv: no such file in the folder of photos"


def test_many_bad_rows_are_counted_and_no_patient_is_named(hospital):
    write_table(hospital, [[f"Schmidt-{n}", f"secret/{n}.jpg", "glaucoma", *GOOD[0][3:]] for n in range(30)])
    text = problem(hospital)
    lines = text.splitlines()
    assert lines[0] == "patients.csv: 30 of 30 rows cannot be used" and lines[-1] == "and 10 more rows"
    assert len(lines) == 22 and "disease: not one of" in lines[1] and "image: the photo is missing" in lines[1]
    assert not any(secret in text for secret in ("Schmidt", "secret", "glaucoma", str(hospital)))


@pytest.fixture
def build(hospital, tmp_path, monkeypatch):
    monkeypatch.delenv("MEMA_PRIVATE", raising=False)
    private, runs = tmp_path / "private", tmp_path / "runs"
    private.mkdir()
    hospital_folder = private / "hospital"
    hospital_folder.mkdir()
    for file in hospital.glob("*.*"):
        file.rename(hospital_folder / file.name)
    config = {"name": "test", "clinic": "eye_clinic", "size": 32, "paths": {"private": str(private), "runs": str(runs)}}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    return Build.load(tmp_path / "build.yaml")


def test_controls_are_kept_apart_and_masks_follow_their_photo(build):
    cohort, controls = build_cohort(build)
    assert (cohort.count, controls.count) == (3, 1)
    assert {r.subject_id for r in cohort.records()}.isdisjoint(r.subject_id for r in controls.records())
    first = next(iter(cohort.faces()))
    assert first.image.shape == (32, 32, 3) and first.mask.shape == (32, 32)
    # The photo's central square is columns 8 to 56; the mask's 10 x 15 px shrink by 2/3.
    rows, columns = np.nonzero(first.mask)
    assert (rows.min(), rows.max()) == (13, 19) and 11 <= columns.min() <= 12 and 20 <= columns.max() <= 21
    assert "Schmidt" not in str(cohort.records()) and build_cohort(build)[0].digest == cohort.digest


def test_a_cohort_of_controls_alone_is_refused(build):
    write_table(build.hospital, [[*row[:-1], "1"] for row in GOOD])
    with pytest.raises(UserError, match="every patient is a control"):
        build_cohort(build)


def test_donors_are_numbered_and_their_table_is_checked(build):
    build.donor_photos.mkdir(parents=True)
    for name in ("a1.jpg", "b1.jpg"):
        (build.donor_photos / name).write_bytes((build.hospital / name).read_bytes())
    table = build.donor_photos / "donors.csv"
    table.write_text("image,age,gender\na1.jpg,30,female\nb1.jpg,41,male\n")
    donors = build_donors(build)
    assert [r.image_id for r in donors.records()] == ["donor-00000", "donor-00001"]
    assert donors.records()[1].gender == "male" and donors.images().shape == (2, 32, 32, 3)
    table.write_text("image,age,gender\na1.jpg,30,female\nc1.jpg,,male\n")
    with pytest.raises(UserError, match=r"row 3: age: empty; image: the photo is missing"):
        build_donors(build)
