"""Patients of the phantom world, photographed once for all tests of methods."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def patients() -> np.ndarray:
    """Three phantoms in which the detector sees a face, uint8 (3, 128, 128, 3)."""
    from generation.phantom.population import draw_patient
    from generation.phantom.render import render

    cases = [draw_patient("tests", "eye_clinic", i, 5, photos=(1, 1)) for i in range(3)]
    return np.stack([render(case.subject, case.shots[0], case.finding, 128).image for case in cases])
