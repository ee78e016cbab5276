"""The taxonomy: fixed orders, wording, severity ranges, and errors that help."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from mema.errors import UserError
from mema.taxonomy import Taxonomy, load_taxonomy, taxonomies

EYE_CODES = ("bcc", "conjunctivitis", "normal", "ptosis", "scc", "strabismus", "tao", "uveitis")


def test_clinics_and_their_fixed_order() -> None:
    assert taxonomies() == ("dermatology", "eye_clinic")
    assert load_taxonomy("eye_clinic").codes == EYE_CODES
    assert load_taxonomy("dermatology").codes[-1] == "normal"
    assert load_taxonomy("eye_clinic") is load_taxonomy("eye_clinic")


def test_wording_is_that_of_mema() -> None:
    eye, skin = load_taxonomy("eye_clinic"), load_taxonomy("dermatology")
    assert eye.caption("bcc") == "A face, eye with basal cell carcinoma"
    assert eye.prompt("bcc", "mid") == "A face, eye with basal cell carcinoma, mid-level"
    assert skin.prompt("psoriasis", "heavy") == "A face, skin with psoriasis, heavy-level"


@pytest.mark.parametrize("name", taxonomies())
def test_levels_partition_the_unit_interval(name: str) -> None:
    taxonomy = load_taxonomy(name)
    assert taxonomy.severity_level(0.0) == "slight"
    assert taxonomy.severity_level(1.0) == "heavy"
    for severity in taxonomy.severities:
        assert taxonomy.severity_level(severity.midpoint) == severity.level
        assert taxonomy.severity_level(severity.low) == severity.level
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        taxonomy.severity_level(1.01)


def test_tumours_have_masks_and_normal_has_none() -> None:
    eye = load_taxonomy("eye_clinic")
    assert {disease.code for disease in eye.diseases if disease.lesion_mask} == {"bcc", "scc"}
    assert all(not load_taxonomy(name).disease("normal").lesion_mask for name in taxonomies())


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'uveitis'"):
        load_taxonomy("eye_clinic").index("uveitus")
    with pytest.raises(UserError, match="did you mean 'eye_clinic'"):
        load_taxonomy("eyeclinic")
    with pytest.raises(UserError, match="heavy, mid, slight"):
        load_taxonomy("eye_clinic").prompt("bcc", "xx")


def test_a_gap_between_levels_and_unknown_keys_are_refused() -> None:
    data = load_taxonomy("eye_clinic").model_dump(by_alias=True)
    data["severities"][1]["low"] = 0.5
    with pytest.raises(ValidationError, match="without gaps"):
        Taxonomy.model_validate(data)
    with pytest.raises(ValidationError, match="colour"):
        Taxonomy.model_validate({**load_taxonomy("eye_clinic").model_dump(by_alias=True), "colour": 1})


def test_import_is_light() -> None:
    code = "import sys, mema.taxonomy; print([m for m in ('numpy', 'torch', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
