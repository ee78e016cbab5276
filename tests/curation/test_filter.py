import csv

import numpy as np
import pytest
from curation_world import FRESH, make_build

from curation.duplicates import near_pairs, thumbnail
from curation.filter import REASONS, Candidates, FilterConfig, Reason, run_filter, screen
from curation.reading import copier, read_rows
from mema.errors import UserError
from mema.imageset import ImageSet, write_imageset


def reasons_of(build):
    with (build.filtered / REASONS).open() as file:
        return {row["image_id"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}


def test_every_plant_is_rejected_for_its_reason_and_nothing_is_lost(released):
    reasons = reasons_of(released)
    assert reasons[f"virtual-{FRESH:04d}"][0] == "near-identity"
    assert "dlib" in reasons[f"virtual-{FRESH:04d}"][1]
    assert reasons[f"virtual-{FRESH + 1:04d}"][0] == "near-identity"
    assert reasons[f"virtual-{FRESH + 3:04d}"][0] in ("no-face", "near-identity")
    if "virtual-0005" not in reasons:
        assert reasons[f"virtual-{FRESH + 2:04d}"] == ("near-duplicate", "of virtual-0005")
    kept, rejected = (ImageSet.open(released.filtered / name) for name in ("kept", "rejected"))
    candidates = ImageSet.open(released.candidates)
    assert kept.count > 0
    assert {r.image_id for r in rejected.records()} == set(reasons)
    assert sorted(r.image_id for r in [*kept.records(), *rejected.records()]) == [
        r.image_id for r in candidates.records()
    ]
    images = {face.record.image_id: face for face in candidates.faces()}
    for face in [*kept.faces(), *rejected.faces()]:
        assert face.record == images[face.record.image_id].record
        assert np.array_equal(face.image, images[face.record.image_id].image)


def candidates(**changes):
    count = 4
    random = np.random.default_rng(0)
    flags = {name: np.zeros(count, bool) for name in ("a", "b", "any", "majority", "own_donor/a", "own_donor/b")}
    flags |= {"own_donor/any": np.zeros(count, bool), "own_donor/majority": np.zeros(count, bool)}
    values = {
        "image_ids": [f"image-{i}" for i in range(count)],
        "flags": flags,
        "seen": np.ones(count, bool),
        "thumbnails": random.random((count, 768)) * 255,
    }
    return Candidates(**{**values, **changes})


def test_rules_any_majority_and_off():
    one = candidates()
    one.flags["a"][0] = one.flags["any"][0] = True
    one.flags["own_donor/b"][2] = one.flags["own_donor/any"][2] = True
    near = Reason("near-identity", "a")
    assert screen(one, FilterConfig(near_patient="any")) == [near, None, None, None]
    assert screen(one, FilterConfig(near_patient="majority")) == [None] * 4
    assert screen(one, FilterConfig(near_patient="off")) == [None] * 4
    donors = FilterConfig(near_patient="off", near_donor="any")
    assert screen(one, donors) == [None, None, Reason("near-donor", "b"), None]


def test_faces_are_asked_for_only_when_wanted():
    one = candidates(seen=np.array([True, False, True, True]))
    assert screen(one, FilterConfig()) == [None, Reason("no-face"), None, None]
    assert screen(one, FilterConfig(face=False)) == [None] * 4


def test_a_duplicate_of_a_rejected_image_stays():
    thumbnails = np.random.default_rng(0).random((4, 768)) * 255
    thumbnails[1] = thumbnails[0] + 0.5
    thumbnails[3] = thumbnails[2] - 0.5
    one = candidates(seen=np.array([False, True, True, True]), thumbnails=thumbnails)
    duplicate = Reason("near-duplicate", "of image-2")
    assert screen(one, FilterConfig()) == [Reason("no-face"), None, None, duplicate]
    assert screen(one, FilterConfig(duplicate_rms=0)) == [Reason("no-face"), None, None, None]


def test_of_a_chain_of_duplicates_every_second_stays():
    """0-1 and 1-2 are near, 0-2 are not: 1 goes, and 2 has nothing left to repeat."""
    base = np.full(768, 100.0)
    one = candidates(thumbnails=np.stack([base, base + 3, base + 6, base + 100]))
    assert [reason is None for reason in screen(one, FilterConfig(duplicate_rms=4))] == [True, False, True, True]


def test_near_pairs_agrees_with_brute_force():
    values = np.random.default_rng(3).random((40, 768)).astype(np.float32) * 12 + 100
    expected = [
        (i, j) for i in range(40) for j in range(i + 1, 40) if np.sqrt(np.mean((values[i] - values[j]) ** 2)) < 4.88
    ]
    assert 0 < len(expected) < 700
    assert [tuple(pair) for pair in near_pairs(values, 4.88).tolist()] == expected


def test_thumbnail_is_stable_under_recompression_but_tells_people_apart(faces):
    from curation.planted import handle

    first, second = faces["candidates"][0].image, faces["candidates"][1].image
    same, other = thumbnail(first) - thumbnail(first.copy()), thumbnail(first) - thumbnail(second)
    assert np.sqrt(np.mean(same**2)) == 0
    assert np.sqrt(np.mean((thumbnail(first) - thumbnail(handle(first))) ** 2)) < np.sqrt(np.mean(other**2))


def test_read_rows_and_copier_cross_shards(tmp_path, faces):
    ten = faces["candidates"][:10]
    source = write_imageset(tmp_path / "s", 10, lambda a, b: ten[a:b], config={}, shard_size=3)
    assert [face.record.image_id for face in read_rows(source.path, 2, 7)] == [f.record.image_id for f in ten[2:7]]
    rows = [1, 4, 5, 9]
    copy = write_imageset(tmp_path / "t", 4, copier(source, rows), config={}, shard_size=2)
    assert [record.image_id for record in copy.records()] == [ten[row].record.image_id for row in rows]


def test_resuming_a_copy_at_a_later_shard(tmp_path, faces):
    ten = faces["candidates"][:10]
    source = write_imageset(tmp_path / "s", 10, lambda a, b: ten[a:b], config={})
    rows = [0, 2, 3, 7, 8]
    make = copier(source, rows)
    assert [face.record.image_id for face in make(2, 4)] == [ten[3].record.image_id, ten[7].record.image_id]


def test_an_audit_of_other_candidates_is_refused(copied, faces, tmp_path):
    make_build(tmp_path, {**faces, "candidates": faces["candidates"][:9]})
    with pytest.raises(UserError, match="the audit is of other candidates"):
        run_filter(copied)


def test_without_an_audit_there_is_no_filter(tmp_path, faces):
    with pytest.raises(UserError, match="run `mema curate audit` first"):
        run_filter(make_build(tmp_path, faces))
