"""Donors without labels: the real libraries on weights made here (attribute_weights.py), which read colours.

DeepFace reads the face, InsightFace a patch about a bright spot, which its made detector takes for a face.
"""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

pytest.importorskip("deepface")
pytest.importorskip("insightface")

from attribute_weights import write_attribute_weights

from generation.donor_attributes import AttributesConfig, Estimate, settle
from generation.donors import build_donors
from generation.plan import PlanConfig, choose_donors
from generation.quotas import Target
from mema.build import Build
from mema.config import validate
from mema.errors import UserError

RED, BLUE = (0.6, 0.4, 0.3), (0.3, 0.4, 0.6)


def portrait(tint, patch):
    """A tinted face with a patch of the colour ``patch`` (a spot in it) in a corner: uint8 (256, 256, 3)."""
    from skimage import data

    image = data.astronaut()[:256, 96:352] * np.array(tint)
    image[160:, :96] = patch
    image[184:232, 24:72] = 250
    return image.astype(np.uint8)


PHOTOS = {
    "given": (BLUE, (0, 20, 40)),
    "agreed": (RED, (40, 20, 0)),
    "gender": (RED, (0, 20, 40)),
    "age": (RED, (190, 180, 170)),
    "half": (BLUE, (0, 20, 40)),
}
TABLE = """image,age,gender
given.png,71,female
agreed.png,,
gender.png,,
age.png,,
half.png,,female
nobody.png,,
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(write_attribute_weights(tmp_path / "weights")))
    monkeypatch.delenv("MEMA_PRIVATE", raising=False)
    config = {
        "name": "test",
        "clinic": "eye_clinic",
        "size": 256,
        "paths": {"private": str(tmp_path / "private"), "runs": str(tmp_path / "runs")},
        "donors": {"attributes": {"estimator": "deepface", "second": "insightface"}},
    }
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    build = Build.load(tmp_path / "build.yaml")
    build.donor_photos.mkdir(parents=True)
    for name, colours in PHOTOS.items():
        Image.fromarray(portrait(*colours)).save(build.donor_photos / f"{name}.png")
    Image.new("RGB", (256, 256)).save(build.donor_photos / "nobody.png")
    (build.donor_photos / "donors.csv").write_text(TABLE)
    return build


def test_gaps_are_filled_and_disputes_stay_open(build):
    build.check()
    made = build_donors(build)
    given, agreed, gender, age, half, nobody = made.records()
    assert (given.age, given.gender) == (71, "female")
    assert agreed.gender == "female" and 15 < agreed.age < 40
    assert gender.gender is None and gender.age == pytest.approx(agreed.age, abs=1)
    assert age.gender == "female" and age.age is None
    assert half.gender == "female" and 15 < half.age < 40
    assert nobody.gender is None and nobody.age is None

    report = json.loads((build.donor_attributes / "report.json").read_text())
    assert (report["donors"], report["incomplete_in_table"], report["seen_by_both"]) == (6, 5, 4)
    assert (report["disagree_in_age"], report["disagree_in_gender"]) == (1, 1)
    assert (report["age_unknown"], report["gender_unknown"]) == (2, 2)
    assert report["no_face"] == {"deepface": [nobody.image_id], "insightface": [nobody.image_id]}
    disputed = {row["donor"]: row for row in report["disputed"]}
    assert disputed[gender.image_id]["disagree"] == ["gender"]
    assert disputed[gender.image_id]["deepface"]["gender"] == "female"
    assert disputed[gender.image_id]["insightface"]["gender"] == "male"
    assert disputed[age.image_id]["disagree"] == ["age"]
    assert list(disputed) == [gender.image_id, age.image_id]

    # A rerun makes the same bytes from the estimates that are there.
    assert build_donors(build).digest == made.digest
    block = build.donor_attributes / "deepface-00000.json"
    content = json.loads(block.read_text())
    content["estimates"][0][0] = 33.0
    block.write_text(json.dumps(content))
    assert build_donors(build).records()[1].age == 33.0
    # Another photo is estimated anew.
    Image.fromarray(portrait(BLUE, (0, 20, 40))).save(build.donor_photos / "agreed.png")
    again = build_donors(build).records()[1]
    assert again.gender == "male" and again.age != 33.0


def test_without_the_columns_everyone_is_estimated(build):
    (build.donor_photos / "donors.csv").write_text("image\nagreed.png\nhalf.png\n")
    assert [record.gender for record in build_donors(build).records()] == ["female", "male"]


def test_a_complete_table_needs_no_estimator(build, monkeypatch, tmp_path):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path / "nothing"))
    (build.donor_photos / "donors.csv").write_text("image,age,gender\nagreed.png,40,male\n")
    assert build_donors(build).records()[0].age == 40
    (build.donor_photos / "donors.csv").write_text("image,age,gender\nagreed.png,,male\n")
    with pytest.raises(UserError, match=r"age_model_weights\.onnx.*licence"):
        build_donors(build)


@pytest.mark.parametrize(
    ("first", "second", "agreed"),
    [
        ((30.0, "female"), (45.0, "female"), (30.0, "female")),
        ((30.0, "female"), (45.1, "female"), (None, "female")),
        ((30.0, "female"), (31.0, "male"), (30.0, None)),
        ((30.0, "female"), (None, None), (30.0, "female")),
        ((None, None), (30.0, "female"), (None, None)),
    ],
)
def test_what_two_opinions_settle(first, second, agreed):
    assert settle([Estimate(*first), Estimate(*second)], 15) == Estimate(*agreed)
    assert settle([Estimate(*first)], 15) == Estimate(*first)


def test_unknown_donors_serve_last(build):
    donors = build_donors(build).records()
    targets = [Target("normal", "female", 25.0, None)] * 3
    chosen = choose_donors(targets, donors, PlanConfig(donor_uses_max=1), np.random.default_rng(0))
    assert {donor.gender for donor in chosen} == {"female"}
    assert all(donor.age is not None for donor in chosen)


def test_one_estimator_is_not_its_own_second():
    with pytest.raises(UserError, match="second is deepface again"):
        validate(AttributesConfig, {"estimator": "deepface", "second": "deepface"}, "donors.attributes")
    with pytest.raises(UserError, match="did you mean 'age_gap'"):
        validate(AttributesConfig, {"estimator": "deepface", "age_gaps": 3}, "donors.attributes")
