"""Signs of disease on the phantom: ``find`` turns a disease, a severity and a seed into what the renderer
applies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from generation.phantom.anatomy import Subject
from generation.phantom.canvas import Finding
from generation.phantom.signs import dermatology, eye_clinic
from mema.errors import UserError, nearest

FAINTEST = 0.35
"""Strength of a sign at severity 0: faint, yet a sign; below it a patient would have no disease to name."""

FINDINGS: dict[str, Callable[[float, Subject, np.random.Generator], Finding]] = {
    **eye_clinic.FINDINGS,
    **dermatology.FINDINGS,
}


def find(disease: str, severity: float, subject: Subject, seed: int) -> Finding:
    """Return what ``disease`` (a taxonomy code) does to a face at ``severity`` in [0, 1].

    The same seed places the same lesions, so one patient's photos agree and severities of one patient can be
    compared. Raises UserError for an unknown disease or a severity outside [0, 1].
    """
    if disease not in FINDINGS:
        raise UserError(f"the phantom has no disease '{disease}'{nearest(disease, FINDINGS)}")
    if not 0 <= severity <= 1:
        raise UserError(f"severity {severity} is not in [0, 1]")
    strength = FAINTEST + (1 - FAINTEST) * severity
    return FINDINGS[disease](strength, subject, np.random.default_rng(seed))
