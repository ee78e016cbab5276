"""Signs, painted on a flat synthetic canvas: nameable, graded, repeatable, visible on every skin."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from generation.phantom.anatomy import Subject, anchors, draw_subject
from generation.phantom.canvas import Canvas, EyeState, Finding
from generation.phantom.signs import FINDINGS, find
from mema.errors import UserError
from mema.taxonomy import load_taxonomy, taxonomies

SIZE = 192
EYE_DISEASES = [code for code in load_taxonomy("eye_clinic").codes if code != "normal"]
PAINTED = ["bcc", "scc", *(code for code in load_taxonomy("dermatology").codes if code != "normal")]


def blank(subject: Subject) -> Canvas:
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(axis, axis)
    zero = np.zeros_like(x)
    albedo = np.broadcast_to(np.float32(subject.skin_colour), (SIZE, SIZE, 3)).copy()
    return Canvas(x, y, albedo, zero.copy(), zero + 0.25, zero.copy(), zero + 1, 2 / SIZE)


def paint(finding: Finding, subject: Subject) -> Canvas:
    canvas = blank(subject)
    for painter in finding.painters:
        painter(canvas, anchors(subject))
    return canvas


def departure(finding: Finding, subject: Subject) -> float:
    """How far a finding is from health: painted change of colour plus distance of the eyes' states."""
    painted = np.abs(paint(finding, subject).albedo - blank(subject).albedo).sum() / SIZE**2
    healthy = np.array(astuple(EyeState()))
    return float(painted * 100 + sum(np.abs(np.array(astuple(eye)) - healthy).sum() for eye in finding.eyes))


def test_every_disease_of_every_clinic_has_a_sign() -> None:
    known = {code for name in taxonomies() for code in load_taxonomy(name).codes}
    assert set(FINDINGS) == known


@pytest.mark.parametrize("code", sorted(FINDINGS))
def test_same_seed_same_lesions(code: str) -> None:
    subject = draw_subject(4)
    first, second, other = (find(code, 0.6, subject, seed) for seed in (1, 1, 2))
    assert first.eyes == second.eyes
    assert np.array_equal(paint(first, subject).albedo, paint(second, subject).albedo)
    if code in PAINTED:
        assert not np.array_equal(paint(first, subject).albedo, paint(other, subject).albedo)


@pytest.mark.parametrize("code", sorted(set(FINDINGS) - {"normal"}))
def test_severity_is_graded_and_never_invisible(code: str) -> None:
    subject = draw_subject(9, skin_tone=3)
    for seed in range(3):
        grades = [departure(find(code, severity, subject, seed), subject) for severity in (0, 0.25, 0.5, 0.75, 1)]
        assert grades[0] > 0
        assert all(np.diff(grades) > 0), grades


@pytest.mark.parametrize("tone", [1, 5, 10])
@pytest.mark.parametrize("code", PAINTED)
def test_painted_signs_stay_physical_and_show_on_every_skin(code: str, tone: int) -> None:
    subject = draw_subject(2, skin_tone=tone)
    canvas, before = paint(find(code, 0.2, subject, 5), subject), blank(subject)
    assert np.isfinite(canvas.albedo).all()
    assert canvas.albedo.min() >= 0
    assert canvas.albedo.max() <= 1
    lesion = canvas.lesion > 0.5
    assert lesion.any()
    # In a display's encoding (gamma 2.2), a lesion must differ from its skin by some five 8-bit steps.
    contrast = np.abs(canvas.albedo[lesion] ** (1 / 2.2) - before.albedo[lesion] ** (1 / 2.2)).max(-1).mean()
    assert contrast > 5 / 255


def test_only_diseases_with_a_mask_mark_a_lesion() -> None:
    subject = draw_subject(3)
    for name in taxonomies():
        for disease in load_taxonomy(name).diseases:
            marked = paint(find(disease.code, 0.5, subject, 0), subject).lesion.max() > 0.5
            assert marked == disease.lesion_mask, disease.code


@pytest.mark.parametrize("tone", [1, 4, 7, 10])
def test_bcc_is_pearly_and_glossy_where_scc_is_dark_and_matte(tone: int) -> None:
    subject = draw_subject(6, skin_tone=tone)
    for seed in range(4):
        bcc, scc = (paint(find(code, 0.4, subject, seed), subject) for code in ("bcc", "scc"))
        assert bcc.gloss[bcc.lesion > 0.5].mean() > 2 * scc.gloss[scc.lesion > 0.5].mean()
        pearl, crust = bcc.albedo[bcc.lesion > 0.5], scc.albedo[scc.lesion > 0.5]
        assert np.median(pearl[:, 2] / pearl[:, 0]) > 1.5 * np.median(crust[:, 2] / crust[:, 0])


@pytest.mark.parametrize("code", ["bcc", "scc"])
def test_tumours_sit_at_one_eye_and_grow(code: str) -> None:
    subject = draw_subject(8)
    widths = []
    for severity in (0.0, 1.0):
        canvas = paint(find(code, severity, subject, 3), subject)
        rows, columns = np.nonzero(canvas.lesion > 0.5)
        widths.append(np.ptp(canvas.x[rows, columns]))
        centre = np.array([canvas.x[rows, columns].mean(), canvas.y[rows, columns].mean()])
        assert np.hypot(*(anchors(subject).eye_centre - centre).T).min() < 0.3
    assert 0.10 < widths[0] < widths[1] < 0.36


def test_strabismus_turns_one_eye_by_18_to_35_degrees() -> None:
    subject = draw_subject(1)
    for seed in range(20):
        for severity in (0.0, 1.0):
            angles = [
                np.hypot(eye.deviation_horizontal, eye.deviation_vertical)
                for eye in find("strabismus", severity, subject, seed).eyes
            ]
            assert min(angles) == 0
            assert 18 <= max(angles) <= 36


def test_nothing_is_painted_off_the_skin_or_out_of_sight() -> None:
    subject = draw_subject(5)
    for code in PAINTED:
        bare, away = blank(subject), blank(subject)
        bare.skin[:], away.x[:] = 0, away.x + 9
        away.y[:] += 9
        for canvas in (bare, away):
            for painter in find(code, 1.0, subject, 1).painters:
                painter(canvas, anchors(subject))
        assert np.array_equal(away.albedo, blank(subject).albedo)
        assert away.lesion.max() == 0
        if code not in ("bcc", "scc"):
            assert np.array_equal(bare.albedo, blank(subject).albedo)
            assert bare.lesion.max() == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'rosacea'"):
        find("rosacae", 0.5, draw_subject(0), 0)
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        find("acne", 1.5, draw_subject(0), 0)
