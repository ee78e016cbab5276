"""The shortcut test on a hidden signal that is really there: noise fitted to the judge until it says what it should."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.tracks.shortcut import WASHINGS, describe, fit_reader, gaps, readings
from generation.phantom.population import draw_patient
from generation.phantom.render import render
from mema.classifier import DiseaseClassifier, as_tensor, load
from mema.taxonomy import load_taxonomy
from mema.weights import locate

CLINIC = "eye_clinic"
CODES = load_taxonomy(CLINIC).codes


@pytest.fixture(scope="module")
def patients() -> tuple[np.ndarray, list[str]]:
    """Two patients of each disease, plainly ill."""
    diseases = [code for code in CODES for _ in range(2)]
    cases = [
        draw_patient("tests", CLINIC, index, 21, disease=code, severity=0.9, photos=(1, 1))
        for index, code in enumerate(diseases)
    ]
    return np.stack([render(case.subject, case.shots[0], case.finding, 128).image for case in cases]), diseases


def fitted_noise(judge: DiseaseClassifier, images: np.ndarray, diseases: list[str]) -> np.ndarray:
    """Change each pixel by at most 4 of 255 until the judge reads another disease, as wanted (PGD, 1706.06083)."""
    import torch
    from torch.nn import functional

    start, wanted = as_tensor(images), torch.tensor([judge.classes.index(code) for code in diseases])
    changed = start.clone()
    for _ in range(6):
        changed.requires_grad_(True)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(judge(changed), wanted), changed)
        with torch.no_grad():
            changed = (changed - gradient.sign() / 255).clamp(start - 4 / 255, start + 4 / 255).clamp(0, 1)
    pixels: np.ndarray = (changed * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def test_a_hidden_signal_shows_and_an_open_sign_does_not(patients: tuple[np.ndarray, list[str]]) -> None:
    """Faces of well people, with noise that only the judge reads, against the ill themselves."""
    images, diseases = patients
    judge = load(locate(f"phantom-judge/{CLINIC}"))
    reader = fit_reader(images, diseases, CODES)
    originals = readings([judge], reader, [images], diseases)
    assert originals["plain"].mean() > 0.9

    well = images[[index for index, code in enumerate(diseases) if code == "normal"] * len(CODES)]
    cheating = fitted_noise(judge, well, diseases)
    hidden = readings([judge], reader, [cheating[:5], cheating[5:]], diseases)
    assert hidden["plain"].mean() > 0.8
    shown = gaps(hidden, originals)
    assert shown.keys() == {*WASHINGS, "encoder"}
    assert shown["encoder"].mean() > 0.4
    assert shown["denoise"].mean() > 0.1
    assert np.mean(list(shown.values())) > 0.15
    for column in gaps(originals, originals).values():
        assert not column.any()


def test_judges_are_read_one_by_one_and_together(patients: tuple[np.ndarray, list[str]]) -> None:
    images, diseases = patients
    good, naive = load(locate(f"phantom-judge/{CLINIC}")), DiseaseClassifier(CODES).eval()
    read = readings([good, naive], fit_reader(images, diseases, CODES), [images], diseases)
    assert (read["plain"] == (read["judge-1"] + read["judge-2"]) / 2).all()
    assert read["judge-1"].mean() > read["judge-2"].mean()


def test_the_reader_learns_what_it_is_shown(patients: tuple[np.ndarray, list[str]]) -> None:
    images, _ = patients
    colours = np.zeros((8, 128, 128, 3), np.uint8) + (np.arange(8) % 2 * 200).astype(np.uint8)[:, None, None, None]
    reader = fit_reader(colours, ["bcc", "scc"] * 4, CODES)
    assert [CODES[row.argmax()] for row in reader.map(describe(colours))] == ["bcc", "scc"] * 4
    assert describe(images).shape == (len(images), 1280)
