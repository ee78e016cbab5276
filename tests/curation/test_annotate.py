import json

import pytest
from curation_world import candidate

from curation.annotate import READING, run_annotate
from curation.filter import KEPT
from generation.phantom.population import draw_patient
from generation.phantom.render import render_batch
from mema.annotations import TABLE, Annotation, agree, majority, read_annotations, read_mask, write_annotations
from mema.build import Build
from mema.errors import UserError
from mema.imageset import ImageSet, write_imageset
from mema.taxonomy import load_taxonomy

CLINIC = load_taxonomy("eye_clinic")


def said(annotator, accept=True, disease="bcc", severity=None, image_id="image-1"):
    return Annotation(
        image_id=image_id, annotator=annotator, accept=accept, disease=disease if accept else None, severity=severity
    )


def test_the_oracle_says_something_of_every_kept_image_and_signs_it(released):
    annotations = read_annotations(released.annotations, CLINIC, candidates=ImageSet.open(released.candidates).digest)
    kept = ImageSet.open(released.filtered / KEPT)
    assert [one.image_id for one in annotations] == [record.image_id for record in kept.records()]
    for one in annotations:
        assert one.by_machine
        assert one.annotator.startswith("oracle:phantom-judge/eye_clinic@")
        assert one.severity is None
        assert one.lead_time_s is None
        assert bool(one.reason) != one.accept
        assert (one.disease is None) != one.accept


def test_the_reading_counts_what_the_table_says(released):
    annotations = read_annotations(released.annotations, CLINIC, candidates=ImageSet.open(released.candidates).digest)
    reading = json.loads((released.annotations / READING).read_text())
    prompted = {record.image_id: record.disease for record in ImageSet.open(released.filtered / KEPT).records()}
    accepted = [one for one in annotations if one.accept]
    assert reading["accepted"] == len(accepted)
    assert reading["as_prompted"]["value"] == pytest.approx(
        sum(one.disease == prompted[one.image_id] for one in accepted) / len(accepted)
    )
    assert sum(sum(row.values()) for row in reading["read_by_prompted"].values()) == len(accepted)


def test_confidence_decides_what_is_accepted(copied):
    def accepted(confidence):
        text = copied.config_path.read_text().replace("confidence: 0.3", f"confidence: {confidence}")
        path = copied.config_path.with_name("other.yaml")
        path.write_text(text)
        return run_annotate(Build.load(path))["accepted"]

    assert accepted(0.0) == ImageSet.open(copied.filtered / KEPT).count
    assert accepted(1.0) < accepted(0.6) <= accepted(0.0)


def test_missing_weights_are_named(copied):
    text = copied.config_path.read_text().replace("confidence: 0.3", "weights: phantom-judge/eye_clinik")
    copied.config_path.write_text(text)
    with pytest.raises(UserError, match="did you mean 'phantom-judge/eye_clinic'"):
        run_annotate(Build.load(copied.config_path))


def test_round_trip_of_the_table(tmp_path):
    rows = [
        said("dr-a", severity="mid"),
        Annotation(image_id="image-2", annotator="dr, b", accept=False, reason='blurred, "no eye"', lead_time_s=3.25),
    ]
    write_annotations(tmp_path, rows, candidates="c")
    assert read_annotations(tmp_path, CLINIC, candidates="c") == rows
    assert (tmp_path / TABLE).read_text().splitlines()[1] == "image-1,dr-a,1,bcc,mid,,,0,"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("image-1,dr-a,1,,,,,0,", "row 2: .*accepted without a disease"),
        ("image-1,dr-a,1,measles,,,,0,", "row 2: disease: 'measles' is not one of eye_clinic"),
        ("image-1,dr-a,perhaps,bcc,,,,0,", "row 2: accept"),
        ("image-1,dr-a,1,bcc,worst,,,0,", "row 2: severity"),
        ("image-1,dr-a,1,bcc,,,-1,0,", "row 2: lead_time_s"),
        ("../x,dr-a,1,bcc,,,,0,", "row 2: image_id"),
        ("image-1,dr-a,1,bcc,,,,0,\nimage-1,dr-a,0,,,,,0,", "dr-a annotated image-1 twice"),
        ("image-1,dr-a,1,bcc,,,,0,,more", "row 2"),
        ("image-1,dr-a,1,bcc,,,,first,", "row 2: round"),
        ("image-1,dr-a,1,bcc,,,,0,../secret", "row 2: mask"),
    ],
)
def test_wrong_rows_are_named(tmp_path, row, message):
    write_annotations(tmp_path, [], candidates="c")
    header = "image_id,annotator,accept,disease,severity,reason,lead_time_s,round,mask"
    (tmp_path / TABLE).write_text(f"{header}\n{row}\n")
    with pytest.raises(UserError, match=message):
        read_annotations(tmp_path, CLINIC, candidates="c")


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(UserError, match="run `mema curate annotate` first"):
        read_annotations(tmp_path, CLINIC, candidates="c")
    write_annotations(tmp_path, [], candidates="c")
    (tmp_path / TABLE).write_text("image,who\n")
    with pytest.raises(UserError, match="the columns must be image_id"):
        read_annotations(tmp_path, CLINIC, candidates="c")
    (tmp_path / TABLE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a CSV table"):
        read_annotations(tmp_path, CLINIC, candidates="c")


def test_majority_needs_more_than_half():
    assert majority(["a", "a", "b"]) == "a"
    assert majority(["a", "b"]) is None
    assert majority([True]) is True


def test_consensus():
    one = agree([said("a"), said("b"), said("c", disease="scc"), said("d", accept=False)])
    assert one == (True, "bcc", None, ("a", "b"))
    assert agree([said("a"), said("b", accept=False)]) is None
    assert agree([said("a"), said("b", disease="scc")]) is None
    assert agree([said("a", accept=False), said("b", accept=False), said("c")]).annotators == ("a", "b")
    assert agree([said("a", severity="mid"), said("b", severity="mid"), said("c")]).severity == "mid"
    assert agree([said("a", severity="mid"), said("b")]).severity is None


def test_the_oracle_outlines_what_it_reads_as_a_tumour(tmp_path):
    diseases = ["bcc", "bcc", "scc", "normal", "normal"]
    cases = [
        draw_patient("tests", "eye_clinic", index, 3, disease=disease, severity=0.8, photos=(1, 1))
        for index, disease in enumerate(diseases)
    ]
    photos = list(render_batch([(case.subject, case.shots[0], case.finding) for case in cases]))
    faces = [candidate(index, photo.image, diseases[index]) for index, photo in enumerate(photos)]
    values = {
        "name": "outlined",
        "clinic": "eye_clinic",
        "size": 128,
        "paths": {"private": f"{tmp_path}/private", "runs": f"{tmp_path}/runs"},
        "annotate": {"confidence": 0.0, "segmenter": "phantom-segmenter"},
    }
    (tmp_path / "build.yaml").write_text(json.dumps(values))
    build = Build.load(tmp_path / "build.yaml")
    write_imageset(build.filtered / KEPT, len(faces), lambda a, b: faces[a:b], config={"candidates": "c"})

    reading = run_annotate(build)
    given = read_annotations(build.annotations, CLINIC, candidates="c")
    masks = [read_mask(build.annotations, one) for one in given]
    assert reading["outlined"] == sum(mask is not None for mask in masks) >= 2
    for one, mask, photo in zip(given, masks, photos, strict=True):
        assert one.by_machine and "+phantom-segmenter-" in one.annotator
        assert mask is None or one.disease in ("bcc", "scc")
        if mask is not None and photo.lesion.any():
            assert 2 * (mask & photo.lesion).sum() > 0.5 * (mask.sum() + photo.lesion.sum())
