"""The page for a privacy officer, and what it says beyond rates: groups, disagreement, what was not tested."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from curation.audit import disagreements, votes
from curation.audit_page import PAGE, not_tested, render_page
from curation.groups import false_accepts, group_rates
from curation.report import FLAGS, REPORT, AuditReport
from mema.faces.thresholds import calibrate
from mema.groups import LEAST_PEOPLE, age_group, tone_group
from mema.records import FaceRecord

HOSTILE = '<script>alert(1)</script>"><img src=http://evil.example/x onerror=alert(2)>'


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def record(number, patient, **known):
    return FaceRecord(image_id=f"photo-{number}", subject_id=f"patient-{patient}", **known)


def test_the_page_is_that_of_the_report_and_lies_in_the_release_too(released):
    page = (released.audit / PAGE).read_text()
    assert page == render_page(AuditReport.load(released.audit))
    assert (released.release / PAGE).read_text() == page
    assert (released.release / REPORT).read_bytes() == (released.audit / REPORT).read_bytes()


def test_the_page_asks_nobody_for_anything(released):
    tags = Tags((released.audit / PAGE).read_text())
    assert not {"script", "img", "iframe", "form", "object"} & {tag for tag, _ in tags.seen}
    links = [values[key] for _, values in tags.seen for key in ("src", "href") if key in values]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "url(" not in "".join(tags.words) and "@import" not in "".join(tags.words)


def test_the_page_says_what_was_compared_and_found(released):
    report = AuditReport.load(released.audit)
    text = re.sub(r"\s+", " ", " ".join(Tags((released.audit / PAGE).read_text()).words))
    assert "14 (42 photos)" in text and "6 (18 photos)" in text and "1 in 100" in text
    for name in report.recognisers:
        assert name in text
        assert f"{100 * report.decision(name).patients.raw.value:.1f} %" in text
    assert f"{report.repeats.images} of {report.sizes.candidates} candidates" in text
    for sentence in not_tested(report):
        assert re.sub(r"\s+", " ", sentence) in text
    assert "Attackers who train on the release" in text


def test_hostile_names_are_text(released):
    report = AuditReport.load(released.audit)
    values = report.model_dump(mode="json")
    old = report.recognisers[0]
    text = AuditReport.model_validate(_renamed(values, old, HOSTILE))
    tags = Tags(render_page(text))
    assert not {"script", "img"} & {tag for tag, _ in tags.seen}
    assert HOSTILE in "".join(tags.words)


def _renamed(value, old, new):
    if isinstance(value, dict):
        return {new if key == old else key: _renamed(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, old, new) for inner in value]
    return new if value == old else value


def test_an_earlier_report_still_has_a_page(released):
    values = AuditReport.load(released.audit).model_dump(mode="json")
    for key in ("flagged_by", "disagreements", "groups", "repeats"):
        del values[key]
    page = render_page(AuditReport.model_validate(values))
    assert page.count("This audit did not count") == 2 and "Groups were not compared" in page


def test_counts_agree_with_the_public_flags(released):
    import pyarrow.parquet as pq

    report = AuditReport.load(released.audit)
    flags = pq.read_table(released.audit / FLAGS).to_pydict()
    count = np.sum([flags[name] for name in report.recognisers], axis=0)
    assert report.flagged_by == tuple(int((count == k).sum()) for k in range(len(report.recognisers) + 1))
    assert sum(report.flagged_by[1:]) == sum(flags["any"])
    for one in report.disagreements:
        first, second = np.array(flags[one.first]), np.array(flags[one.second])
        assert one.both + one.only_first == first.sum() and one.both + one.only_second == second.sum()
    assert report.repeats.pairs >= 1


def test_who_disagrees_is_counted():
    flags = {"a": np.array([1, 1, 0, 0], bool), "b": np.array([1, 0, 1, 0], bool)}
    (one,) = disagreements(flags)
    assert (one.both, one.only_first, one.only_second) == (1, 1, 1)
    assert votes(flags) == (1, 2, 1)


def test_false_accepts_are_those_of_a_loop():
    random = np.random.default_rng(0)
    vectors, subjects = unit(random.normal(size=(30, 3))), [f"s{row % 12}" for row in range(30)]
    strangers = [(i, j) for i in range(30) for j in range(i) if subjects[i] != subjects[j]]
    near = [np.linalg.norm(vectors[i] - vectors[j]) < 0.6 for i, j in strangers]
    pairs, found = false_accepts(vectors, subjects, 0.6)
    assert pairs == len(strangers) and found.value == pytest.approx(np.mean(near))
    assert found.low < found.value < found.high
    _, nobody = false_accepts(vectors, subjects, 0.0)
    assert nobody.value == nobody.low == 0 < nobody.high


@pytest.fixture(scope="module")
def groups():
    """Rates of 40 women, of 40 men who look alike, and of too few old people, at two rates: {(group, far): rate}."""
    random = np.random.default_rng(1)
    genders = ["female"] * 40 + ["male"] * 40
    patients = [record(row, row, gender=gender, age=30.0) for row, gender in enumerate(genders)]
    patients += [record(80 + row, 80 + row, age=70.0) for row in range(LEAST_PEOPLE - 1)]
    crowd = random.normal(size=(len(patients), 16))
    crowd[40:80] = crowd[40] + 0.5 * crowd[40:80]
    vectors = {"one": unit(crowd)}
    subjects = [one.subject_id for one in patients]
    common = [{"one": calibrate(vectors["one"], subjects, far, pairs="all")} for far in (0.05, 1e-4)]
    candidates = [record(200 + row, 200 + row, gender=("female", "male")[row % 2]) for row in range(8)]
    nearest = {"one": np.linspace(0.3, 1.0, 8).astype(np.float32)}
    rates = list(group_rates(patients, candidates, vectors, nearest, common, seed=0))
    return {(one.group, one.far): one for one in rates}, vectors["one"], common[0]["one"], nearest["one"]


def test_a_group_that_is_told_apart_less_well_shows_and_a_small_one_is_not_told(groups):
    rates, _, common, nearest = groups
    female, male, small = (rates[group, 0.05] for group in ("female", "male", "from 65"))
    assert male.false_accepts.low > 0.05 > female.false_accepts.value
    assert male.pairs == 40 * 39 // 2 and male.resolved
    assert female.candidates == 4 and female.near.value == np.mean(nearest[::2] < common.distance)
    assert (small.patients, small.pairs, small.false_accepts, small.resolved) == (None, None, None, False)
    assert small.own is small.near_own is None


def test_a_group_has_a_threshold_of_its_own(groups):
    rates, vectors, common, nearest = groups
    for group, rows in (("female", slice(0, 40)), ("male", slice(40, 80))):
        one = rates[group, 0.05]
        gaps = np.linalg.norm(vectors[rows][:, None] - vectors[rows][None], axis=2)[np.triu_indices(40, 1)]
        # 5 % of the group's 780 pairs, whatever the common threshold takes.
        assert np.sum(gaps < one.own.distance - 1e-6) == 39
        assert one.own.low <= one.own.distance <= one.own.high and one.own.pairs == 780
        own = nearest[(0 if group == "female" else 1) :: 2]
        assert one.near_own.value == np.mean(own < one.own.distance)
        low, high = one.near_own_at_threshold_interval
        assert low <= one.near_own.value <= high
    assert rates["male", 0.05].own.high < common.distance < rates["female", 0.05].own.distance


def test_too_few_pairs_set_no_threshold(groups):
    one = groups[0]["male", 1e-4]
    assert not one.resolved and one.own is one.near_own is one.near_own_at_threshold_interval is None


def test_the_page_shows_both_thresholds_and_no_small_group(released, groups):
    values = AuditReport.load(released.audit).model_dump()
    shown = AuditReport.model_validate({**values, "groups": [one.model_dump() for one in groups[0].values()]})
    page = render_page(shown)
    (table,) = re.findall(r"<thead><tr><th>Group</th>.*?</table>", page, re.S)
    one = groups[0]["male", 0.05]
    for figure in (f"{one.own.distance:.3f}", f"{one.own.low:.3f} to {one.own.high:.3f}"):
        assert figure in table
    assert f"{100 * one.near_own.value:.1f}" in table and f"{100 * one.near.value:.1f}" in table
    assert table.count("too few pairs") == 3 and "from 65" not in table
    said = " ".join(not_tested(shown))
    assert "fewer than 10 patients are too small to test: age from 65" in said
    assert "1 in 10,000 could be read: gender female, gender male, age 18 to 39." in said


def test_groups_have_no_gaps():
    ages = [0, 17.9, 18, 39.9, 40, 64.9, 65]
    assert [age_group(record(0, 0, age=age)) for age in ages] == [
        *["under 18"] * 2, *["18 to 39"] * 2, *["40 to 64"] * 2, "from 65",
    ]  # fmt: skip
    assert {tone_group(record(0, 0, skin_tone=tone)) for tone in (1, 4, 8)} == {
        tone_group(record(0, 0, skin_tone=tone)) for tone in (3, 7, 10)
    }
    assert age_group(record(0, 0)) is tone_group(record(0, 0)) is None
