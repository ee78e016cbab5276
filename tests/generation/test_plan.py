"""The plan: quotas follow the cohort, donors fit and are shared evenly, the same seed gives the same bytes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from generation.plan import PlanConfig, make_plan, read_plan, report, targets_of, write_plan
from generation.quotas import (
    distances,
    draw_targets,
    joint_distance,
    joint_least,
    joint_luck,
    joint_table,
    largest_remainder,
    rounded_table,
)
from mema.errors import UserError
from mema.records import FaceRecord
from mema.taxonomy import load_taxonomy

EYES = load_taxonomy("eye_clinic")
LIMIT = 0.003


def people(count: int, seed: int, prefix: str = "p", diseases=EYES.codes) -> list[FaceRecord]:
    """Unevenly many of each disease, with ages and genders that depend on it."""
    random = np.random.default_rng(seed)
    weights = np.arange(1, len(diseases) + 1) / np.arange(1, len(diseases) + 1).sum()
    records = []
    for n, place in enumerate(random.choice(len(diseases), size=count, p=weights)):
        records.append(
            FaceRecord(
                image_id=f"{prefix}{n}",
                subject_id=f"{prefix}{n}",
                disease=diseases[place],
                age=int(np.clip(random.normal(20 + 7 * place, 12), 5, 90)),
                gender="female" if random.random() < 0.3 + 0.05 * place else "male",
                skin_tone=int(random.integers(1, 11)),
            )
        )
    return records


def faces(count: int) -> list[FaceRecord]:
    random = np.random.default_rng(5)
    return [
        FaceRecord(
            image_id=f"donor-{n:05d}",
            subject_id=f"donor-{n:05d}",
            age=int(random.integers(5, 91)),
            gender=("female", "male")[n % 2],
            skin_tone=int(random.integers(1, 11)),
        )
        for n in range(count)
    ]


def plan(count=900, seed=0, cohort=None, **settings):
    config = PlanConfig(count=count, seed=seed, **settings)
    return make_plan(cohort or people(300, 1), faces(600), EYES, config)


@pytest.mark.parametrize(("photos", "count"), [(300, 900), (264, 330), (257, 1000), (1200, 4000)])
def test_the_plan_is_as_near_to_the_cohort_as_the_paper_says(photos, count):
    cohort = people(photos, photos)
    planned = distances(draw_targets(cohort, count), cohort)
    # No plan of n whole images can be nearer than rounding lets it: half an image per class at worst.
    floor = len(EYES.codes) / (4 * count)
    assert planned.disease <= max(LIMIT, floor) and planned.gender <= LIMIT and planned.age <= LIMIT
    assert count < 900 or planned.disease <= LIMIT


def test_disease_and_age_hang_together_as_in_the_cohort():
    cohort = people(300, 2)
    drawn = draw_targets(cohort, 900)
    for disease in EYES.codes:
        ours = np.mean([t.age for t in drawn if t.disease == disease])
        theirs = np.mean([r.age for r in cohort if r.disease == disease])
        assert abs(ours - theirs) < 1


@pytest.mark.parametrize(("photos", "count"), [(264, 330), (257, 1000), (1200, 1500)])
def test_the_joint_distribution_is_nearly_as_near_as_whole_images_can_be(photos, count):
    cohort = people(photos, photos)
    least, (luck, low, _) = joint_least(cohort, count), joint_luck(cohort, count)
    found = joint_distance(draw_targets(cohort, count), cohort)
    assert least <= found <= 1.25 * least and found < 0.5 * low < luck


def test_a_multiple_of_the_cohort_has_its_joint_distribution_exactly():
    cohort = people(66, 3)
    photos = [record for record in cohort for _ in range(4)]
    # Five images for the four photos of each patient, as in the demo; and twice as many as there are photos.
    for count in (330, 528):
        drawn = draw_targets(photos, count)
        assert joint_distance(drawn, photos) == 0 and distances(drawn, photos) == (0, 0, 0)
    assert joint_luck(photos, 330)[1] > 0.05


def test_every_kind_is_less_than_one_image_from_its_share_of_the_cell():
    cohort = people(400, 4)
    drawn = draw_targets(cohort, 500)
    cells, quotas = (Counter((one.disease, one.gender) for one in side) for side in (cohort, drawn))
    kinds, counts = joint_table(cohort), joint_table(drawn)
    gaps = [abs(counts[kind] - number * quotas[kind[:2]] / cells[kind[:2]]) for kind, number in kinds.items()]
    assert max(gaps) < 1 and counts.keys() <= kinds.keys()


def test_chance_is_what_drawing_from_the_cohort_gives():
    cohort, random = people(300, 5), np.random.default_rng(0)
    found = [joint_distance([cohort[i] for i in random.integers(300, size=200)], cohort) for _ in range(100)]
    luck, low, high = joint_luck(cohort, 200)
    assert luck == pytest.approx(np.mean(found), rel=0.03) and low < np.mean(found) < high


def test_the_report_holds_the_joint_distance_beside_chance():
    cohort = people(300, 1)
    rows = plan(count=900, cohort=cohort)
    joint = report(rows, cohort, faces(600))["joint"]
    assert joint["plan"] == 0 == joint["least"] < joint["random"]["low"] < joint["random"]["high"]
    # Tones of donors are followed only loosely.
    assert 0 < joint["donors"] < 1


def test_random_sampling_is_told_apart():
    cohort = people(300, 1)
    random = [donor.model_copy(update={"disease": EYES.codes[n % 8]}) for n, donor in enumerate(faces(400))]
    assert distances(random, cohort).disease > 0.1 and distances(random, cohort).age > 0.03


def test_largest_remainder_and_margins():
    assert largest_remainder({"a": 1, "b": 1, "c": 1}, 10) == {"a": 4, "b": 3, "c": 3}
    assert largest_remainder({"a": 5, "b": 3, "c": 2}, 7) == {"a": 4, "b": 2, "c": 1}
    table = {(d, g): 1.0 for d in "abcdefg" for g in ("female", "male")}
    cells = rounded_table(table, 21)
    assert sum(cells.values()) == 21
    assert Counter(d for (d, _), n in cells.items() for _ in range(n)) == dict.fromkeys("abcdefg", 3)
    assert sorted(Counter(g for (_, g), n in cells.items() for _ in range(n)).values()) == [10, 11]


def test_unknown_ages_and_genders_stay_unknown():
    cohort = [
        r.model_copy(update={"age": None, "gender": None}) if n % 3 == 0 else r for n, r in enumerate(people(300, 1))
    ]
    rows = make_plan(cohort, faces(600), EYES, PlanConfig(count=900, donor_uses_max=4))
    assert abs(sum(row.age is None for row in rows) - 300) <= 20
    assert distances(targets_of(rows), cohort).age <= LIMIT
    assert all(row.donor_id for row in rows)


def test_rows_have_distinct_names_weights_in_range_and_fitting_prompts():
    rows = plan(skin_tone_years=0)
    assert [row.row_id for row in rows] == list(range(900))
    assert len({row.image_id for row in rows}) == len({row.subject_id for row in rows}) == 900
    assert all(0.2 <= row.donor_weight <= 0.4 for row in rows)
    assert np.ptp([row.donor_weight for row in rows]) > 0.19 and len({row.seed for row in rows}) > 890
    for row in rows:
        assert EYES.disease(row.disease).name in row.prompt
        assert (row.severity is None) == (row.disease == "normal")
        assert row.severity is None or row.prompt.endswith(f", {row.severity}-level")
    for disease in EYES.codes:
        levels = Counter(row.severity for row in rows if row.disease == disease)
        assert max(levels.values()) - min(levels.values()) <= 1


def test_donors_fit_and_are_used_evenly():
    donors = {donor.image_id: donor for donor in faces(600)}
    rows = plan(donor_uses_max=4)
    assert all(donors[row.donor_id].gender == row.gender for row in rows)
    assert np.mean([abs(donors[row.donor_id].age - row.age) for row in rows]) < 2
    uses = Counter(row.donor_id for row in rows)
    assert max(uses.values()) <= 4 and len(uses) > 300


def test_too_few_donors_are_refused():
    with pytest.raises(UserError, match=r"plan: \d+ images need (fe)?male donors, but 300 donors at 1 uses serve 300"):
        plan(donor_uses_max=1)
    with pytest.raises(UserError, match="there are no donors"):
        make_plan(people(20, 1), [], EYES, PlanConfig(count=20))


def test_without_donors_sampling_is_direct():
    rows = make_plan(people(50, 1), [], EYES, PlanConfig(count=50, donor_weight=None))
    assert all(row.donor_id is None and row.donor_weight is None for row in rows)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_plan(plan(count=200, seed=seed), tmp_path / f"{name}.csv")
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c
    assert read_plan(tmp_path / "a.csv") == plan(count=200)


def test_the_plan_names_no_patient(tmp_path):
    cohort = people(100, 1, prefix="canary-")
    rows = plan(count=150, cohort=cohort)
    write_plan(rows, tmp_path / "plan.csv")
    assert "canary" not in (tmp_path / "plan.csv").read_text() + str(report(rows, cohort, faces(600)))


def test_a_spoilt_plan_names_the_row(tmp_path):
    path = tmp_path / "plan.csv"
    with pytest.raises(UserError, match="no such file; 'mema generate plan' writes it"):
        read_plan(path)
    write_plan(plan(count=10), path)
    path.write_text(path.read_text().replace("male", "mail"))
    with pytest.raises(UserError, match=r"row \d+: gender is wrong"):
        read_plan(path)


def test_a_wrong_range_of_weights_is_refused():
    with pytest.raises(ValueError, match="not a range within"):
        PlanConfig(donor_weight=(0.4, 0.2))
