"""What a sign may touch: the state of an eye, and the canvas of skin that a disease paints on.

A disease is a function ``(severity, subject, rng) -> Finding``; the renderer applies the finding. Face coordinates
``(x, y)`` are those of the frontal face of DESIGN §3: the unit is half the photo's width, the origin lies between
nose bridge and nose tip, x grows to the photo's right, y downwards. The subject's *right* eye (index 0) has x < 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class EyeState:
    """How one eye departs from a healthy one; every default is healthy, every strength lies in [0, 1].

    Lengths (``upper_lid_drop``, ``upper_lid_raise``, ``lower_lid_drop``) are in units of the healthy palpebral
    fissure's height; deviations in degrees (positive horizontal = towards the nose, positive vertical = upwards).
    """

    upper_lid_drop: float = 0.0
    upper_lid_raise: float = 0.0
    lower_lid_drop: float = 0.0
    brow_raise: float = 0.0
    proptosis: float = 0.0
    lid_swelling: float = 0.0
    lid_redness: float = 0.0
    lid_crease_loss: float = 0.0
    deviation_horizontal: float = 0.0
    deviation_vertical: float = 0.0
    conjunctival_redness: float = 0.0
    ciliary_flush: float = 0.0
    vessels: float = 0.0
    chemosis: float = 0.0
    discharge: float = 0.0
    tearing: float = 0.0
    pupil_scale: float = 1.0
    pupil_irregularity: float = 0.0
    hypopyon: float = 0.0
    corneal_haze: float = 0.0


@dataclass
class Canvas:
    """The skin of one face at render resolution, in face coordinates; painters change it in place.

    Arrays are float32 of shape (H, W), albedo (H, W, 3) in linear RGB [0, 1]; ``bump`` is height towards the
    viewer in face units (it is shaded), ``gloss`` the strength of the specular term (healthy skin about 0.25),
    ``lesion`` the mask in [0, 1] (thresholded at 0.5 after down-sampling). ``pixel`` is the size of one pixel in
    face units: details much smaller than it are invisible at this resolution.
    ``skin`` in [0, 1] says where facial skin is (0 on eyeballs, lips, hair and background).
    """

    x: Array
    y: Array
    albedo: Array
    bump: Array
    gloss: Array
    lesion: Array
    skin: Array
    pixel: float


@dataclass(frozen=True)
class Anchors:
    """Where things are on one subject's frontal face, in face coordinates; what painters steer by.

    ``eye_centre`` (2, 2), ``eye_half_width`` and ``eye_half_height`` floats, ``upper_lid`` and ``lower_lid`` are
    functions ``(eye index, t) -> (x, y)`` of t in [-1, 1] from the nasal to the temporal canthus; ``nose_tip``,
    ``mouth_centre``, ``chin``, ``forehead`` and ``glabella`` (2,), ``cheek``, ``brow``, ``nasolabial`` and
    ``temple`` (2, 2) with the subject's right first; ``hairline_y`` and ``face_half_width`` floats.
    """

    eye_centre: Array
    eye_half_width: float
    eye_half_height: float
    upper_lid: Callable[[int, Array], tuple[Array, Array]]
    lower_lid: Callable[[int, Array], tuple[Array, Array]]
    nose_tip: Array
    mouth_centre: Array
    chin: Array
    forehead: Array
    glabella: Array
    cheek: Array
    brow: Array
    nasolabial: Array
    temple: Array
    hairline_y: float
    face_half_width: float


Painter = Callable[[Canvas, Anchors], None]


@dataclass(frozen=True)
class Finding:
    """What one disease at one severity does to one face: two eye states and painters of skin, in order.

    A painter must be deterministic: what is random is drawn when the finding is made, so that every photo of a
    patient shows the same lesions.
    """

    eyes: tuple[EyeState, EyeState] = (EyeState(), EyeState())
    painters: tuple[Painter, ...] = field(default_factory=tuple)
