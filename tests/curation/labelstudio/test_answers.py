"""Answers that may come from anyone: each gets one clear line, and the others stay."""

import json

import numpy as np
import pytest
import yaml

from curation.labelstudio.answers import Problem, answers_of, read_answer
from curation.labelstudio.pull import ACCOUNTS, NOTES_FILE, assemble, export_path
from curation.labelstudio.push import mask_region
from curation.labelstudio.rounds import Round, Shown
from mema.annotations import REPEATS, read_annotations, read_mask
from mema.build import Build
from mema.errors import UserError
from mema.files import write_json
from mema.taxonomy import load_taxonomy

CLINIC = load_taxonomy("eye_clinic")
PLAN = Round(
    number=0,
    candidates="c",
    images=("image-1", "image-2", "image-3", "image-4"),
    height=8,
    width=6,
    annotators=("dr-a", "dr-b"),
    per_image=2,
    repeated=0.25,
    seed=0,
)
MASK = np.random.default_rng(0).random((8, 6)) < 0.5
SCRIPT = "<script>alert('x')</script>\x00\x1b[31m"


def choice(name, *codes):
    return {"type": "choices", "from_name": name, "to_name": "image", "value": {"choices": list(codes)}}


def notes(text):
    return {"type": "textarea", "from_name": "notes", "to_name": "image", "value": {"text": text}}


def region(value=(), **changes):
    good = mask_region(MASK)
    return {**good, **changes, "value": {**good["value"], **dict(value)}}


ACCEPTED = [choice("decision", "accept"), choice("disease", "bcc")]


def read(result, **more):
    return read_answer({"id": 1, "result": result, **more}, "image-1", "dr-a", PLAN, CLINIC)


def test_an_answer_is_read_whole():
    answer = read([*ACCEPTED, choice("severity", "mid"), notes(["seen"]), region()], lead_time=12.3456)
    assert answer.annotation.model_dump(exclude={"image_id", "annotator"}) == {
        "accept": True,
        "disease": "bcc",
        "severity": "mid",
        "reason": "",
        "lead_time_s": 12.346,
        "round": 0,
        "mask": None,
    }
    assert np.array_equal(answer.mask, MASK)
    assert (answer.notes, answer.remark) == ("seen", "")


def test_the_regions_of_a_tumour_are_one_mask_and_other_tools_leave_no_trace():
    other = np.zeros((8, 6), bool)
    other[0] = True
    point = {"type": "keypointlabels", "from_name": "smart_keypoint", "value": {"x": 1, "keypointlabels": ["tumor"]}}
    assert np.array_equal(read([*ACCEPTED, region(), mask_region(other), point]).mask, MASK | other)
    assert read([*ACCEPTED, mask_region(np.zeros((8, 6), bool))]).mask is None


def test_a_rejected_image_keeps_its_reason_and_no_mask():
    answer = read([choice("decision", "reject"), choice("reason", "artefact"), choice("disease", "bcc"), region()])
    assert (answer.annotation.accept, answer.annotation.reason) == (False, "artefact")
    assert answer.annotation.disease is None
    assert answer.mask is None


def test_script_in_notes_is_text_and_is_named():
    answer = read([*ACCEPTED, notes([SCRIPT])])
    assert answer.notes == "<script>alert('x')</script>[31m"
    assert "markup" in answer.remark


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "12", None, True, [1]])
def test_a_time_that_is_none_is_unknown(value):
    assert read(ACCEPTED, lead_time=value).annotation.lead_time_s is None


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "result: not a list"),
        ([{}] * 1_001, "result: not a list of at most 1000"),
        ([*ACCEPTED, "x"], "a region has no value"),
        ([*ACCEPTED, {"from_name": "tumor_mask", "value": None}], "a region has no value"),
        ([], "neither accepted nor rejected"),
        ([choice("decision", "accept")], "accepted without a disease"),
        ([choice("decision", "maybe")], "decision: 'maybe' is not one of accept, reject"),
        ([choice("decision", "accept"), choice("disease", "measles")], "disease: 'measles' is not one of"),
        ([choice("decision", "accept"), choice("disease", "bcc", "scc")], "disease: not one answer"),
        ([*ACCEPTED, choice("disease", "scc")], "disease: not one answer"),
        ([choice("decision", ["accept"])], "decision: .* is not one of"),
        ([*ACCEPTED, choice("severity", "\x1b[2Jworst")], r"severity: '\[2Jworst' is not one of"),
        ([*ACCEPTED, notes({"a": 1})], "notes: not text"),
        ([*ACCEPTED, notes(["x" * 4_001])], "notes: longer than 4000"),
        ([*ACCEPTED, region(original_width=6_000_000)], "not 6 x 8"),
        ([*ACCEPTED, region(original_width=8, original_height=6)], "not 6 x 8"),
        ([*ACCEPTED, region(value={"rle": [0] * 10_000_000})], "tumor_mask: the mask is not a list of at most"),
        ([*ACCEPTED, region(value={"rle": [255] * 60})], "tumor_mask: the mask is not of 6 x 8"),
        ([*ACCEPTED, region(value={"format": "png"})], "not a region painted as tumor"),
        ([*ACCEPTED, region(value={"brushlabels": ["nose"]})], "not a region painted as tumor"),
    ],
)
def test_hostile_answers_get_one_line(result, message):
    with pytest.raises(Problem, match=message) as caught:
        read(result)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("task", [None, [], {}, {"annotations": {}}, {"annotations": [{"id": "1"}]}])
def test_what_is_not_a_task_gets_one_line(task):
    with pytest.raises(Problem, match="not a task"):
        answers_of(task)


@pytest.fixture
def build(tmp_path):
    values = {
        "name": "hostile",
        "clinic": "eye_clinic",
        "paths": {name: f"{tmp_path}/{name}" for name in ("private", "runs", "answers")},
    }
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(values))
    made = Build.load(tmp_path / "build.yaml")
    write_json(made.label_studio / ACCOUNTS, {"dr-a": 11, "dr-b": 12})
    return made


def task(annotator, number, *results, again=False, user=None, **data):
    shown = Shown(f"image-{number}", again)
    by = {"dr-a": 11, "dr-b": 12}[annotator] if user is None else user
    return {
        "id": number + 100 * again,
        "data": {"image": "/x.png", "key": PLAN.key(shown), **data},
        "annotations": [{"id": place, "completed_by": by, "result": result} for place, result in enumerate(results, 1)],
    }


def hand_in(build, annotator, tasks, project=1):
    path = export_path(build, PLAN, annotator, project)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tasks) if isinstance(tasks, list) else tasks)
    return path


def table(build, folder=""):
    return read_annotations(build.answers / folder, CLINIC, candidates="c")


def test_what_is_wrong_is_named_and_the_rest_is_kept(build):
    rejected = [choice("decision", "reject"), choice("reason", "no-face"), notes([SCRIPT])]
    bomb = [*ACCEPTED, region(value={"rle": [255] * 100_000})]
    hand_in(
        build,
        "dr-a",
        [
            task("dr-a", 1, [*ACCEPTED, region()]),
            task("dr-a", 2, bomb),
            task("dr-a", 3, rejected),
            task("dr-a", 4, ACCEPTED, key="strange"),
            task("dr-a", 4, ACCEPTED, user=12),
            "not a task",
            {**task("dr-a", 4), "annotations": None},
        ],
    )
    hand_in(build, "dr-b", [task("dr-b", 1, rejected, ACCEPTED)])
    lines = []
    pulled = assemble(build, [PLAN], say=lines.append)
    given = {(one.annotator, one.image_id): one for one in table(build)}
    assert set(given) == {("dr-a", "image-1"), ("dr-a", "image-3"), ("dr-b", "image-1")}
    assert given["dr-b", "image-1"].accept, "the last answer counts"
    assert given["dr-a", "image-3"].reason == "no-face"
    assert np.array_equal(read_mask(build.answers, given["dr-a", "image-1"]), MASK)
    assert pulled.progress == {(0, "dr-a"): (2, 5), (0, "dr-b"): (1, 5)}
    assert lines == pulled.problems
    for number, text in enumerate(
        ["task 2, annotation 1: tumor_mask", "task 3: notes hold markup", "task 4: not a task that was",
         "task 4, annotation 1: answered by another account", "task without a number: not a task", "task 4: not a task"]
    ):  # fmt: skip
        assert text in lines[number]
    assert len(lines) == 6
    stored = json.loads((build.label_studio / NOTES_FILE).read_text())
    assert [one["notes"] for one in stored] == ["<script>alert('x')</script>[31m"]


def test_what_is_shown_again_is_kept_apart(build):
    (again,) = [shown for shown in PLAN.queue("dr-a") if shown.again]
    number = int(again.image_id[-1])
    scc = [choice("decision", "accept"), choice("disease", "scc"), region()]
    hand_in(build, "dr-a", [task("dr-a", number, ACCEPTED), task("dr-a", number, scc, again=True)])
    assemble(build, [PLAN], say=lambda line: None)
    assert [one.disease for one in table(build)] == ["bcc"]
    (repeat,) = table(build, REPEATS)
    assert repeat.disease == "scc"
    assert np.array_equal(read_mask(build.answers / REPEATS, repeat), MASK)


def test_the_same_exports_give_the_same_bytes_and_a_broken_one_changes_nothing(build):
    hand_in(build, "dr-a", [task("dr-a", 1, [*ACCEPTED, region()])])

    def content():
        return {path: path.read_bytes() for path in build.answers.rglob("*") if path.is_file()}

    assemble(build, [PLAN], say=lambda line: None)
    before = content()
    assemble(build, [PLAN], say=lambda line: None)
    assert content() == before
    path = hand_in(build, "dr-b", '[{"id": 1, "annotations": [')
    with pytest.raises(UserError, match=f"{path}: not JSON"):
        assemble(build, [PLAN], say=lambda line: None)
    assert content() == before


def test_a_project_that_was_pushed_again_adds_to_the_lost_one(build):
    hand_in(build, "dr-a", [task("dr-a", 1, ACCEPTED), task("dr-a", 2, ACCEPTED)], project=3)
    scc = [choice("decision", "accept"), choice("disease", "scc")]
    hand_in(build, "dr-a", [task("dr-a", 2, scc)], project=12)
    assemble(build, [PLAN], say=lambda line: None)
    assert {one.image_id: one.disease for one in table(build)} == {"image-1": "bcc", "image-2": "scc"}


def test_a_settling_round_counts_when_everyone_asked_has_answered(build):
    settling = PLAN.model_copy(update={"number": 1, "images": ("image-1",), "repeated": 0.0})
    for annotator, disease in (("dr-a", "bcc"), ("dr-b", "scc")):
        hand_in(build, annotator, [task(annotator, 1, [choice("decision", "accept"), choice("disease", disease)])])
    key = settling.key(Shown("image-1", False))
    for count, annotator in enumerate(("dr-a", "dr-b"), 1):
        path = export_path(build, settling, annotator, 9 + count)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([task(annotator, 1, ACCEPTED, key=key)]))
        assemble(build, [PLAN, settling], say=lambda line: None)
        assert [one.round for one in table(build)] == ([0, 0] if count == 1 else [0, 0, 1, 1])
