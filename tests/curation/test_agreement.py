import csv
import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from curation.agreement import (
    DISPUTES,
    PICTURE,
    REPORT,
    TABLES,
    cohen,
    confusion,
    dice,
    draw_confusion,
    fleiss,
    measure,
    run_agreement,
    tables,
)
from mema.annotations import (
    REPEATS,
    Annotation,
    agree,
    disputes,
    majority_mask,
    read_mask,
    write_annotations,
    write_mask,
)
from mema.build import Build
from mema.errors import UserError
from mema.taxonomy import load_taxonomy

CLINIC = load_taxonomy("eye_clinic")


def said(image, annotator, disease="bcc", severity=None, round=0):
    return Annotation(
        image_id=f"image-{image}",
        annotator=annotator,
        accept=disease is not None,
        disease=disease,
        severity=severity,
        reason="" if disease else "artefact",
        round=round,
    )


def test_fleiss_kappa_of_the_published_example():
    """Fourteen raters, ten subjects, five categories: 0.210 (Wikipedia, «Fleiss' kappa», worked example)."""
    counts = """0 0 0 0 14  0 2 6 4 2  0 0 3 5 6  0 3 9 2 0  2 2 8 1 1
                7 7 0 0 0   3 2 6 3 0  2 5 3 2 2  6 5 2 1 0  0 2 2 3 7"""
    table = np.array(counts.split(), int).reshape(10, 5)
    assert fleiss(table) == pytest.approx(0.210, abs=5e-4)
    # Fleiss 1971: the overall kappa is the mean of the categories', weighted by p (1 - p).
    share = table.sum(0) / table.sum()
    each = [fleiss(np.stack([table[:, j], 14 - table[:, j]], axis=1)) for j in range(5)]
    assert np.average(each, weights=share * (1 - share)) == pytest.approx(fleiss(table))


def test_cohens_kappa_of_the_published_example():
    """Fifty grant applications, 20 both yes, 15 both no, 5 and 10 divided: 0.4 (Wikipedia, «Cohen's kappa»)."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen(first, second) == pytest.approx(0.4)


def test_kappa_where_it_is_not_defined():
    assert cohen([], []) is None
    assert cohen(["a", "a"], ["a", "a"]) is None
    assert fleiss(np.array([[3, 0], [3, 0]])) is None
    assert fleiss(np.zeros((0, 2), int)) is None
    assert fleiss(np.array([[1, 0]])) is None


def test_severity_is_weighted_by_its_distance():
    levels = ("slight", "mid", "heavy")
    near = cohen(["slight", "mid", "heavy"], ["mid", "mid", "heavy"], ordered=levels)
    far = cohen(["slight", "mid", "heavy"], ["heavy", "mid", "heavy"], ordered=levels)
    assert near > far


def test_dice():
    one, other = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    one[0, :4] = True
    other[0, 2:5] = True
    assert dice(one, other) == pytest.approx(2 * 2 / 7)
    assert dice(one, np.zeros_like(one)) == 0


def test_the_majority_mask_holds_what_more_than_half_painted():
    masks = [np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool), np.array([[1, 1, 0, 0]], bool)]
    assert majority_mask(masks).tolist() == [[True, True, False, False]]
    assert majority_mask(masks[:2]).tolist() == [[True, False, False, False]]


def test_a_later_round_settles_a_dispute():
    first = [said(1, "a"), said(1, "b", "scc"), said(1, "c", None)]
    assert agree(first) is None
    assert disputes([*first, said(2, "a")]) == ["image-1"]
    settled = [*first, said(1, "senior", "scc", round=1)]
    assert agree(settled) == (True, "scc", None, ("senior",))
    assert disputes(settled) == []


def test_a_mask_is_the_one_that_was_written(tmp_path):
    mask = np.random.default_rng(0).random((9, 5)) < 0.5
    one = write_mask(tmp_path, said(1, "a"), mask)
    assert np.array_equal(read_mask(tmp_path, one), mask)
    assert read_mask(tmp_path, said(1, "a")) is None
    path = tmp_path / "masks" / "0" / "a" / "image-1.png"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"the mask is not the one in annotations\.csv"):
        read_mask(tmp_path, one)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        read_mask(tmp_path, one)


@pytest.fixture
def report(tmp_path):
    """Three annotators, six images: one dispute, one majority for rejecting, one image seen by two only."""
    given = [
        *(said(1, name, "bcc", "mid") for name in "abc"),
        *(said(2, name, "normal") for name in "abc"),
        *(said(3, name, code) for name, code in zip("abc", ("bcc", "scc", None), strict=True)),
        *(said(4, name, code) for name, code in zip("abc", (None, None, "tao"), strict=True)),
        *(said(5, name, code, "mid") for name, code in zip("abc", ("bcc", "bcc", "scc"), strict=True)),
        *(said(6, name, "ptosis") for name in "ab"),
    ]
    masks = {("a", 1): slice(0, 4), ("b", 1): slice(2, 6), ("a", 5): slice(0, 2)}
    for (name, image), rows in masks.items():
        mask = np.zeros((8, 6), bool)
        mask[rows] = True
        place = next(i for i, one in enumerate(given) if (one.annotator, one.image_id) == (name, f"image-{image}"))
        given[place] = write_mask(tmp_path, given[place], mask)
    again = [said(1, "a", "bcc"), said(2, "a", "ptosis")]
    return measure(tmp_path, given, again, CLINIC)


def test_the_report_counts(report):
    assert {key: report[key] for key in ("images", "accepted", "rejected", "disputed")} == {
        "images": 6,
        "accepted": 4,
        "rejected": 1,
        "disputed": 1,
    }
    assert report["reasons"] == {"artefact": 3}
    assert report["annotators"] == {"a": 6, "b": 6, "c": 5}
    assert (report["fleiss"]["raters"], report["fleiss"]["images"]) == (3, 5)


def test_pairs_are_measured_on_the_images_that_both_saw(report):
    first = next(pair for pair in report["pairs"] if pair["annotators"] == ["a", "b"])
    assert first["images"] == 6
    assert first["same_reading"] == pytest.approx(5 / 6)
    assert first["kappa_accept"] == 1
    # Observed 5/6; chance (bcc 3·2 + normal 1·1 + scc 0·1 + rejected 1·1 + ptosis 1·1) / 36 = 9/36.
    assert first["kappa_reading"] == pytest.approx((5 / 6 - 9 / 36) / (1 - 9 / 36))
    # On image 1 rows 0-3 and 2-5: 0.5; on image 5 only one of them painted: 0.
    assert first["masks"] == {"either_painted": 2, "both_painted": 1, "dice_mean": 0.25, "dice_median": 0.25}
    assert {tuple(pair["annotators"]): pair["images"] for pair in report["pairs"]}["a", "c"] == 5


def test_self_agreement_compares_with_the_first_time(report):
    mine = next(one for one in report["self"] if one["annotator"] == "a")
    assert (mine["images"], mine["same_reading"]) == (2, 0.5)
    assert next(one for one in report["self"] if one["annotator"] == "b")["images"] == 0


def test_the_confusion_is_symmetric_and_counts_pairs():
    votes = {"image-1": {"a": said(1, "a"), "b": said(1, "b", "scc"), "c": said(1, "c", None)}}
    labels = ["bcc", "scc", "rejected"]
    assert confusion(votes, labels).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_tables_and_picture_show_it(report):
    text = tables(report, CLINIC)
    row = next(line for line in text.splitlines() if line.startswith("| a – b |"))
    assert row.split(" | ")[1:] == ["6", "83% (44% to 97%)", "1.00", "0.78", "–", "0.25 of 2 |"]
    assert "disputed 1" in text
    labels = [*CLINIC.codes, "rejected"]
    with Image.open(io.BytesIO(draw_confusion(np.array(report["confusion"]), labels))) as picture:
        dark = np.asarray(picture.convert("L")) < 128
    assert picture.format == "PNG"
    assert dark.any()


@pytest.fixture
def build(tmp_path):
    paths = {"private": f"{tmp_path}/private", "runs": f"{tmp_path}/runs", "answers": f"{tmp_path}/answers"}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump({"name": "two", "clinic": "eye_clinic", "paths": paths}))
    return Build.load(tmp_path / "build.yaml")


def test_the_command_writes_report_tables_picture_and_disputes(build):
    given = [said(1, "a"), said(1, "b", "scc"), said(2, "a"), said(2, "b")]
    write_annotations(build.answers, given, candidates="c")
    write_annotations(build.answers / REPEATS, [said(2, "a")], candidates="c")
    report = run_agreement(build)
    folder = build.answers
    assert json.loads((folder / REPORT).read_text()) == json.loads(json.dumps(report))
    assert report["self"][0]["same_reading"] == 1
    assert (folder / TABLES).read_text().startswith("# Agreement")
    assert (folder / PICTURE).read_bytes().startswith(b"\x89PNG")
    with (folder / DISPUTES).open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"image_id": "image-1", "readings": "a: bcc; b: scc"}]


def test_without_annotations_the_next_step_is_named(build):
    with pytest.raises(UserError, match="run `mema annotate pull` first"):
        run_agreement(build)
    write_annotations(build.answers, [], candidates="c")
    with pytest.raises(UserError, match="nothing is annotated yet"):
        run_agreement(build)
