"""Fairness on people whose unfairness is planted, and the sections of the pages that show it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping

import numpy as np
import pytest

from benchmark.board import Board
from benchmark.config import BenchmarkConfig
from benchmark.fairness import Grouping, fairness_of
from benchmark.leaderboard.downloads import fairness_json, gaps_csv, groups_csv
from benchmark.leaderboard.people import gap_table, people_tables
from mema.groups import ATTRIBUTES, GROUPS
from mema.records import FaceRecord
from mema.result import Method, Protocol, ReleaseReference, Result

RELEASE = ReleaseReference(name="people", version="1.0.0", digest="d")


def make_board(groups: Mapping[str, list[str | None]], diseases: list[str] | None = None, images: int = 1) -> Board:
    """A board of as many people as ``groups`` has entries, with so many images each."""
    people = len(next(iter(groups.values())))
    return Board(
        release=RELEASE,
        clinic="eye_clinic",
        phantom=True,
        machine_annotated=True,
        config=BenchmarkConfig(bootstrap_draws=200),
        thresholds={},
        image_ids=[f"i{person}-{image}" for person in range(people) for image in range(images)],
        subject_ids=[f"p{person}" for person in range(people) for _ in range(images)],
        diseases=[disease for disease in diseases or ["bcc"] * people for _ in range(images)],
        groups={name: [group for group in column for _ in range(images)] for name, column in groups.items()},
    )


def make_result(board: Board, name: str = "method", **scores: np.ndarray) -> Result:
    columns = {"utility": np.ones(len(board.image_ids)), "privacy": np.ones(len(board.image_ids)), **scores}
    return Result(
        method=Method(name=name, revision="1", reversible=False, prior="None"),
        release=RELEASE,
        protocol=Protocol(name="p", version="1"),
        metrics=[],
        seeds=[0],
        git_hash=None,
        hardware="none",
        counts={},
        failures=[],
        image_ids=board.image_ids,
        subject_ids=board.subject_ids,
        scores={key: [None if np.isnan(v) else v for v in column.tolist()] for key, column in columns.items()},
    )


def by_title(board: Board, score: str, values: np.ndarray) -> dict[str, Grouping]:
    groupings = fairness_of([make_result(board, **{score: values})], board)["method"][score]
    return {grouping.title: grouping for grouping in groupings}


def crossed(random: np.random.Generator, people: int) -> dict[str, list[str | None]]:
    return {name: [str(one) for one in random.choice(GROUPS[name], people)] for name in ("gender", "age")}


def test_what_is_planted_is_found_with_its_size() -> None:
    random = np.random.default_rng(4)
    groups = crossed(random, 600)
    worse = (np.array(groups["gender"]) == "female") & (np.array(groups["age"]) == "from 65")
    board = make_board(groups)
    values = (random.random(600) < np.where(worse, 0.4, 0.9)).astype(float)
    told = by_title(board, "utility", values)
    gap = told["gender × age"].gap
    assert gap is not None and gap.worst == "female, from 65"
    assert gap.interval.low < 0.5 < gap.interval.high and gap.interval.low > 0.2
    assert gap.p_value < 0.01 and gap.by_chance < 0.3
    group = next(one for one in told["gender × age"].groups if one.group == gap.worst)
    assert group.people == group.images == worse.sum()
    assert group.value == pytest.approx(values[worse].mean())
    assert group.against_rest is not None
    assert group.against_rest.value == pytest.approx(values[worse].mean() - values[~worse].mean())
    assert group.against_rest.low < -0.5 < group.against_rest.high < 0
    # The same as an attack, of which less is better: the others are now the worst.
    attack = by_title(board, "attack", values)["gender × age"].gap
    assert attack is not None and attack.best == gap.worst and attack.value == pytest.approx(gap.value)


def test_fair_methods_are_seldom_called_unfair() -> None:
    """Gaps of eight groups are large by luck; that is expected, and intervals and p-values know it."""
    called, covered, gaps, chance = [], [], [], []
    for seed in range(30):
        random = np.random.default_rng(seed)
        board = make_board(crossed(random, 160))
        gap = by_title(board, "utility", (random.random(160) < 0.7).astype(float))["gender × age"].gap
        assert gap is not None
        called.append(gap.p_value < 0.05)
        covered.append(gap.interval.low == 0.0)
        gaps.append(gap.value)
        chance.append(gap.by_chance)
    assert np.mean(called) <= 0.1
    assert np.mean(covered) >= 0.9
    assert np.mean(gaps) > 0.2
    assert np.mean(chance) == pytest.approx(np.mean(gaps), abs=0.04)


def test_what_the_mix_of_diseases_explains_is_no_unfairness() -> None:
    random = np.random.default_rng(5)
    old = random.random(300) < 0.5
    tumour = random.random(300) < np.where(old, 0.9, 0.1)
    groups = {"age": ["from 65" if one else "18 to 39" for one in old]}
    values = (random.random(300) < np.where(tumour, 0.3, 0.9)).astype(float)
    mixed = by_title(make_board(groups), "utility", values)["age"].gap
    known = by_title(make_board(groups, ["bcc" if one else "ptosis" for one in tumour]), "utility", values)["age"].gap
    assert mixed is not None and known is not None
    assert mixed.value == known.value > 0.3
    assert mixed.p_value < 0.01 and mixed.by_chance < 0.1
    assert known.p_value > 0.05 and known.by_chance == pytest.approx(known.value, abs=0.12)


def test_images_of_one_person_are_one_person() -> None:
    random = np.random.default_rng(1)
    groups: dict[str, list[str | None]] = {"gender": ["female", "male"] * 20}
    values = (random.random(40) < np.tile([0.9, 0.5], 20)).astype(float)
    once = by_title(make_board(groups), "utility", values)["gender"]
    often = by_title(make_board(groups, images=9), "utility", np.repeat(values, 9))["gender"]
    assert once.gap is not None and often.gap is not None
    assert [group.people for group in often.groups] == [20, 20]
    assert often.gap.value == pytest.approx(once.gap.value)
    assert often.gap.p_value == pytest.approx(once.gap.p_value, abs=0.02)
    for ends in ("low", "high"):
        assert getattr(often.gap.interval, ends) == pytest.approx(getattr(once.gap.interval, ends), abs=0.03)


def test_small_groups_are_not_told_and_what_is_not_stated_is_counted() -> None:
    genders: list[str | None] = ["female"] * 12 + ["male"] * 9 + [None] * 3
    ages: list[str | None] = ["from 65"] * 12 + ["40 to 64"] * 12
    told = by_title(make_board({"gender": genders, "age": ages}), "utility", np.linspace(0, 1, 24))
    assert [group.group for group in told["gender"].groups] == ["female"]
    assert (told["gender"].small, told["gender"].unstated, told["gender"].gap) == (1, 3, None)
    assert told["age"].gap is not None and told["age"].unstated == 0
    female = told["gender"].groups[0]
    assert female.against_rest is not None
    assert female.against_rest.value == pytest.approx(
        np.linspace(0, 1, 24)[:12].mean() - np.linspace(0, 1, 24)[12:21].mean()
    )


def test_an_image_without_the_score_is_left_out() -> None:
    board = make_board({"gender": ["female"] * 30 + ["male"] * 30})
    values = np.r_[np.full(30, 0.25), np.full(30, 0.75)]
    values[:15] = np.nan
    values[30:51] = np.nan
    female, *others = by_title(board, "disease_top1", values)["gender"].groups
    assert (female.people, female.value, others) == (15, 0.25, [])


def test_parts_stand_for_a_metric_that_has_no_whole() -> None:
    board = make_board({"gender": ["female"] * 12 + ["male"] * 12})
    ones = np.ones(24)
    result = make_result(board, **{"aside.stolen-key": ones, "disease_top1": ones, "disease_top1.judge-1": ones})
    assert set(fairness_of([result], board)["method"]) == {"utility", "privacy", "aside.stolen-key", "disease_top1"}


def test_a_group_that_always_fails_still_has_an_interval() -> None:
    board = make_board({"gender": ["female"] * 12 + ["male"] * 12})
    gap = by_title(board, "utility", np.r_[np.zeros(12), np.ones(12)])["gender"].gap
    assert gap is not None and gap.value == gap.interval.high == 1.0
    assert 0.5 < gap.interval.low < 0.9


def test_nothing_is_said_of_people_of_whom_nothing_is_known() -> None:
    board = make_board({"gender": [None] * 20, "age": [None] * 20})
    assert fairness_of([make_result(board)], board) == {"method": {}}
    assert gap_table({"method": {}}) is None
    assert people_tables({}) == []


def test_downloads_hold_every_group_and_gap() -> None:
    random = np.random.default_rng(0)
    board = make_board(crossed(random, 120))
    fairness = fairness_of([make_result(board, "=a", utility=random.random(120))], board)
    groups = list(csv.DictReader(io.StringIO(groups_csv(fairness))))
    gaps = list(csv.DictReader(io.StringIO(gaps_csv(fairness))))
    document = json.loads(fairness_json(fairness))
    assert {line["method"] for line in gaps} == {"'=a"}
    assert len(gaps) == len(document["groupings"]) == 2 * 3
    assert len(groups) == sum(len(one["groups"]) for one in document["groupings"])
    first = fairness["=a"]["utility"][0]
    assert float(groups[0]["value"]) == first.groups[0].value
    assert first.gap is not None and float(gaps[0]["by_chance"]) == first.gap.by_chance
    table = gap_table(fairness)
    assert table is not None and table.heads == ["gender", "age", "crossings"]


def test_every_person_stated_is_in_one_group_of_each_attribute() -> None:
    record = FaceRecord(image_id="a", subject_id="a", age=65, gender="male", skin_tone=7)
    groups = {name: group_of(record) for name, group_of in ATTRIBUTES.items()}
    assert groups == {"gender": "male", "skin tone": "Monk 4 to 7", "age": "from 65"}
    assert all(groups[name] in GROUPS[name] for name in GROUPS)


def test_a_board_says_nothing_of_groups_that_do_not_exist() -> None:
    known = make_board({"gender": ["female"] * 3})
    values = known.model_dump(mode="json")
    assert Board.model_validate({key: value for key, value in values.items() if key != "groups"}).groups == {}
    for groups in ({"gender": ["female"] * 2}, {"gender": ["<b>"] * 3}, {"income": ["high"] * 3}):
        with pytest.raises(ValueError, match=r"group|attribute"):
            Board.model_validate(values | {"groups": groups})
