"""The quick check of generation: its verdicts, and a run on a build that is real but for its size."""

from __future__ import annotations

import pytest

from generation.effects import accepted, effects, table
from mema.files import read_json


def rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value}


def result(before: float, after: float, direct: float, injected: float, distance: float) -> dict:
    fidelity = {kind: {"top1": top1, "low": 0, "high": 1} for kind, top1 in (("vanilla", before), ("direct", after))}
    leakage = {kind: {"raw": rate(v), "risk": rate(v)} for kind, v in (("direct", direct), ("injected", injected))}
    distances = {name: {"disease": distance, "age": distance, "gender": distance} for name in ("random", "guided")}
    made = {
        "population": "phantoms",
        "samples": 10,
        "fidelity": fidelity,
        "leakage": {"dlib": leakage},
        "distances": distances,
    }
    return made | {"accepted": accepted(made)}


@pytest.mark.parametrize(
    ("values", "verdicts"),
    [
        ((0.2, 0.8, 0.5, 0.1, 0.003), [True, True, True]),
        ((0.3, 0.8, 0.5, 0.11, 0.004), [False, False, False]),
        ((0.2, 0.7, 0.0, 0.0, 0.0), [False, True, False]),
    ],
)
def test_what_is_accepted(values, verdicts):
    made = result(*values)
    assert list(made["accepted"].values()) == verdicts
    text = table(made)
    assert "phantoms" in text and "71.83" in text and text.count("yes") == sum(verdicts)


def test_one_image_more_or_less_is_no_cut_of_leakage():
    made = result(0.2, 0.8, 0.008, 0.0, 0.0)
    leakage = made["leakage"]["dlib"]
    leakage["direct"]["raw"]["low"], leakage["injected"]["raw"]["high"] = 0.001, 0.028
    assert accepted(made)["donors cut leakage (dlib)"] is False


def test_the_check_runs_on_a_real_pipeline(tiny_build):
    made = effects(tiny_build)
    assert read_json(tiny_build.effects / "effects.json") == made
    assert (tiny_build.private / "reproduce" / "effects.png").is_file()
    assert made["samples"] == 24 and made["distances"]["guided"] == {"disease": 0, "age": 0, "gender": 0}
    assert made["leakage"].keys() == {"phantom-arcface", "phantom-sphereface"}
    for leakage in made["leakage"].values():
        assert leakage.keys() == {"threshold", "direct", "injected"}
        assert leakage["direct"].keys() == {"raw", "raw_at_threshold_interval", "attack", "control", "risk"}
    assert "measured on: noise; 24 images" in table(made)
