"""The paper's tables anew: what is computed from known truth, and the commands on a build that is real but small."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from generation.contact_sheet import LABEL_WIDTH, TITLE_HEIGHT
from generation.plan import PlanConfig, make_plan
from generation.reproduce import fig4, table1, table2
from generation.reproduce.arms import ARMS, DIRECT, INJECTED, PLAIN, VANILLA, WEIGHTS, rows_of, weight_name
from generation.reproduce.diversity import diversity, estimates, measures, vendi_score
from generation.reproduce.identity import Recognised
from generation.reproduce.likeness import likeness
from mema.cli import cli
from mema.faces.leakage import Hits
from mema.faces.thresholds import Threshold
from mema.files import read_json
from mema.imageset import ImageSet
from mema.records import FaceRecord
from mema.taxonomy import load_taxonomy

EYES = load_taxonomy("eye_clinic")


def person(number: int, **fields) -> FaceRecord:
    return FaceRecord(image_id=f"donor-{number}", subject_id=f"donor-{number}", gender="female", age=30, **fields)


def rows(count: int = 8):
    cohort = [person(n, disease=EYES.codes[n % 4]) for n in range(count)]
    return make_plan(cohort, [person(n) for n in range(count)], EYES, PlanConfig(count=count))


def test_arms_differ_in_what_they_say_and_in_nothing_else():
    plan = rows()
    arms = {name: rows_of(arm, plan, EYES) for name, arm in ARMS.items()}
    assert list(arms) == [VANILLA, PLAIN, DIRECT, *map(weight_name, WEIGHTS), INJECTED]
    for made in arms.values():
        assert [(row.seed, row.disease, row.age) for row in made] == [(row.seed, row.disease, row.age) for row in plan]
    assert arms[INJECTED] == plan and all(0.2 <= row.donor_weight <= 0.4 for row in plan)
    assert all(row.donor_id is None and row.donor_weight is None for row in arms[DIRECT])
    assert [row.prompt for row in arms[DIRECT]] == [row.prompt for row in plan]
    for weight in WEIGHTS:
        fixed = arms[weight_name(weight)]
        assert {row.donor_weight for row in fixed} == {weight}
        assert [row.donor_id for row in fixed] == [row.donor_id for row in plan]
    assert arms[VANILLA] == arms[PLAIN]
    assert all(row.prompt == EYES.caption(row.disease) and row.severity is None for row in arms[PLAIN])


def recognised(direct: float, injected: float, donors: float, count: int = 132) -> Recognised:
    """Known shares of samples near a patient, and of injected ones near their donor; a control in twenty matches."""

    def hits(share: float, control: float) -> Hits:
        found = np.arange(count) < round(share * count)
        return Hits([found] * 3, found.astype(float), np.full(count, control))

    return Recognised(
        Threshold(0.5, 1e-4, (0.4, 0.6), 100_000, 1e-5, True),
        {DIRECT: hits(direct, 0.05), INJECTED: hits(injected, 0.05)},
        {DIRECT: hits(0.0, 0.01), INJECTED: hits(donors, 0.01)},
    )


def test_table_1_tells_an_effect_from_none():
    cut, same = (table1.of_recogniser(recognised(0.5, injected, 0.25)) for injected in (0.05, 0.5))
    effect = cut["effects"][INJECTED]
    assert effect["raw"]["value"] == pytest.approx(59 / 132) and effect["raw"]["low"] > 0.3
    assert effect["risk"]["value"] == pytest.approx(59 / 132 / 0.95) and effect["risk"]["low"] > 0.3
    assert effect["donors"]["low"] > 0.15, "the donors' own leakage shows"
    nothing = same["effects"][INJECTED]
    assert nothing["raw"]["low"] < 0 < nothing["raw"]["high"] and nothing["risk"]["low"] < 0 < nothing["risk"]["high"]
    mean = table1.of_mean([recognised(0.5, 0.0, 0.0), recognised(0.25, 0.0, 0.0)])
    assert mean["arms"][DIRECT]["value"] == pytest.approx(0.375) and mean["effects"][INJECTED]["low"] > 0.2
    result = {"recognisers": {"good": cut, "blind": same}, "mean": mean}
    assert list(table1.shows(result).values()) == [True, False, True]


def test_table_2_tells_quotas_from_luck():
    random = np.random.default_rng(0)
    cohort = [
        person(n, disease=EYES.codes[int(7 * random.random() ** 2)]).model_copy(update={"age": 20 + n % 40})
        for n in range(120)
    ]
    donors = [person(n).model_copy(update={"age": 10 + n, "gender": ("female", "male")[n % 2]}) for n in range(80)]
    plan = make_plan(cohort, donors, EYES, PlanConfig(count=120))
    found = table2.measure(plan, cohort, donors, 0)
    guided, chance, unguided = (found["strategies"][name] for name in ("guided", "chance", "random"))
    for key in ("disease", "age", "gender", "joint"):
        assert guided[key] == {"value": 0, "low": 0, "high": 0}
        assert unguided[key]["low"] > 0 and found["effects"][key]["low"] > 0
        assert chance[key]["high"] < unguided[key]["value"]
    assert all(found["shows"].values()) and len(found["shows"]) == 4
    spoilt = [row.model_copy(update={"disease": "uveitis"}) for row in plan]
    assert not table2.measure(spoilt, cohort, donors, 0)["shows"]["quotas come nearer (disease)"]


def test_the_vendi_score_counts_what_differs():
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.ones((5, 5))) == pytest.approx(1)
    twice = np.kron(np.eye(3), np.ones((2, 2)))
    assert vendi_score(twice) == pytest.approx(3)
    # Two kinds, three of the one and one of the other: exp of the entropy of (3/4, 1/4).
    uneven = np.ones((4, 4))
    uneven[3, :3] = uneven[:3, 3] = 0
    assert vendi_score(uneven) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert measures(np.eye(4)) == pytest.approx([4, np.sqrt(2)])


def clouds(spread: float, seed: int, count: int = 40, diseases: int = 2) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(diseases, 16))
    kinds = np.arange(count) % diseases
    points = centres[kinds] + spread * random.normal(size=(count, 16))
    return points / np.linalg.norm(points, axis=1, keepdims=True), [f"d{kind}" for kind in kinds]


def test_collapse_within_a_disease_shows_even_if_diseases_differ():
    narrow, wide = (diversity(*clouds(spread, 1)) for spread in (0.1, 1.0))
    assert narrow.value[0] < 1.5 < 4 < wide.value[0]
    above = estimates(wide, narrow)
    assert all(one.low > 0 for one in above.values())
    nothing = estimates(diversity(*clouds(1.0, 2)), wide)
    assert all(one.low < 0 < one.high for one in nothing.values())
    with pytest.raises(ValueError, match="no disease has 3 images"):
        diversity(np.eye(4), ["a", "b", "c", "d"])


def test_the_jackknife_interval_covers_the_expected_diversity():
    found = [estimates(diversity(*clouds(0.7, seed))) for seed in range(150)]
    for measure in ("vendi", "distance"):
        truth = np.mean([one[measure].value for one in found])
        inside = np.mean([one[measure].low <= truth <= one[measure].high for one in found])
        assert 0.87 <= inside <= 1


def test_likeness_tells_strangers_of_the_same_kind_from_collapse_and_from_another_kind():
    random = np.random.default_rng(0)
    photos, strangers, other = (random.normal(shift, size=(80, 4)) for shift in (0, 0, 3))
    found = likeness(photos, {"strangers": strangers, "other": other, "collapsed": 0 * photos[:60]}, 0)
    assert found["strangers"]["frechet"] < 1 < 20 < found["other"]["frechet"]
    assert min(found["strangers"]["precision"], found["strangers"]["recall"]) > 0.6
    assert found["other"]["precision"] < 0.1 and found["collapsed"]["recall"] == 0
    assert likeness(photos, {"few": photos[:3]}, 0) == {"few": None}


def test_patients_are_compared_at_the_plans_numbers_different_ones_first():
    cohort = [
        FaceRecord(image_id=f"i{n}", subject_id=f"p{n // 2}", disease="bcc" if n < 6 else "scc") for n in range(10)
    ]
    assert fig4.like_the_plan(cohort, ["scc", "bcc", "bcc", "bcc", "scc"]) == [0, 2, 4, 6, 8]
    assert fig4.like_the_plan(cohort, ["scc"] * 5) is None


def run(name: str, build) -> tuple[str, dict]:
    result = CliRunner().invoke(cli, ["reproduce", name, "--config", str(build.config_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output, read_json(build.runs / "reproduce" / f"{name}.json")


def test_table_1_runs_on_a_real_pipeline(tiny_build):
    said, made = run("table1", tiny_build)
    assert "71.83" in said and "1.27" in said and "weight 0.5" in said and "U[0.2, 0.4]" in said
    assert list(made["recognisers"]) == ["phantom-arcface", "phantom-sphereface"] and made["samples"] == 24
    for found in made["recognisers"].values():
        assert set(found["arms"]) == {DIRECT, *map(weight_name, WEIGHTS), INJECTED}
        assert all({"patients", "donors"} == set(arm) for arm in found["arms"].values())
        assert set(found["effects"]) == set(found["arms"]) - {DIRECT}
    # Samples that may show patients lie on the private side; of the public files none names one.
    names = {path.name for path in (tiny_build.private / "reproduce").iterdir()}
    assert {"direct", "weight-0.5", "injected"} <= names
    public = [path for path in (tiny_build.runs / "reproduce").iterdir() if path.suffix == ".json"]
    assert public and not any("patient-0" in path.read_text() or "photo-0" in path.read_text() for path in public)


def test_the_measure_finds_a_generator_that_remembers(tiny_build):
    """Arms of known content: direct sampling gives patients' photos, injection the donors'."""
    from generation.reproduce.arms import draw_rows
    from generation.reproduce.settings import settings_of
    from mema.imageset import Face, write_imageset

    config = settings_of(tiny_build)
    plan = draw_rows(tiny_build, config)
    photos = [face.image for face in ImageSet.open(tiny_build.cohort).faces()]
    donors = {face.record.image_id: face.image for face in ImageSet.open(tiny_build.donors).faces()}
    images = {DIRECT: photos, INJECTED: [donors[row.donor_id] for row in plan]}
    arms = {}
    for name, pictures in images.items():
        faces = [Face(person(n), image) for n, image in enumerate(pictures)]
        path = tiny_build.private / f"known-{name}"
        arms[name] = write_imageset(
            path, 24, lambda start, stop, faces=faces: faces[start:stop], config={"known": name}
        )
    made = table1.measure(tiny_build, arms, plan, config)
    for found in made["recognisers"].values():
        assert found["arms"][DIRECT]["patients"]["raw"]["value"] == 1
        assert found["arms"][INJECTED]["donors"]["raw"]["value"] == 1
        assert found["effects"][INJECTED]["donors"]["low"] > 0.5
    assert all(made["shows"].values())


def test_table_2_runs_on_a_real_build(tiny_build):
    said, made = run("table2", tiny_build)
    assert "0.256" in said and "0.003" in said
    assert made["strategies"]["guided"]["disease"] == {"value": 0, "low": 0, "high": 0}


def test_figure_4_runs_on_a_real_pipeline(tiny_build):
    said, made = run("fig4", tiny_build)
    assert "Vendi" in said and "ptosis" in said
    assert set(made["fidelity"]["arms"]) == {VANILLA, PLAIN, DIRECT, INJECTED, "patients"}
    for space in ("signs", "faces"):
        arms = made["diversity"][space]["arms"]
        assert set(arms) == {VANILLA, PLAIN, DIRECT, INJECTED, "patients"}
        assert all(1 <= one["vendi"]["value"] <= 24 for one in arms.values())
        found = made["likeness"][space]
        assert set(found) == {VANILLA, PLAIN, DIRECT, INJECTED, "controls"}
        assert found["controls"] is None or all(one["frechet"] > 0 for one in found.values())
    with Image.open(tiny_build.private / "reproduce" / "fig4.png") as sheet:
        assert sheet.size == (LABEL_WIDTH + 8 * 96, TITLE_HEIGHT + 3 * 4 * 96), "three diseases, four arms"
    # Pictures of one row differ between arms only by what the arms say.
    plain, severe = (ImageSet.open(tiny_build.private / "reproduce" / name) for name in (PLAIN, DIRECT))
    for one, other in zip(plain.faces(), severe.faces(), strict=True):
        assert np.array_equal(one.image, other.image) == (other.record.disease == "normal")


def test_the_number_of_samples_can_be_chosen(tiny_build):
    arguments = ["reproduce", "table2", "--samples", "48", "--config", str(tiny_build.config_path)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "48 images" in result.output
