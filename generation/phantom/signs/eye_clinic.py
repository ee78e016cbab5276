"""The signs of the eye clinic: two tumours of the lid that are painted, six diseases that are states of the
eyes.

Each function takes the sign's strength (0 < strength <= 1, what ``signs.find`` makes of a severity), the
subject and a generator, and returns a finding; all that is random is drawn here, nothing when painting, and
as often whatever the strength, so that a patient's lesions stay where they are when they grow. Signs after
the MSD Manual.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from generation.phantom.anatomy import Subject
from generation.phantom.canvas import Anchors, Array, Canvas, EyeState, Finding
from generation.phantom.fields import smoothstep
from generation.phantom.signs.brushes import (
    BLOOD,
    CRUST,
    KERATIN,
    Outline,
    draw_outline,
    draw_vessel,
    grain,
    mark,
    onset,
    raise_skin,
    redden,
    shine,
    spot,
    stroke,
    tint,
    veil,
    window,
)

HEALTHY = EyeState()
PEARL = np.array([0.95, 0.72, 0.66], np.float32)
RAW = (0.30, 0.050, 0.035)
OVERLAP = 0.85
"""A tumour's centre lies this share of its radius off the lid's margin: it grows over the margin a little."""


def normal(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """No sign at all."""
    return Finding()


def basal_cell_carcinoma(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Pearly dome with a rolled edge and telangiectasia, ulcerated when severe; lower lid or medial
    canthus."""
    eye, at_canthus = int(rng.integers(2)), bool(rng.random() < 0.4)
    along = float(rng.uniform(-0.6, 0.5))
    outline = draw_outline(rng, 0.055 + 0.058 * strength, 0.045, aspect=float(rng.uniform(0.85, 1.0)))
    crater, seed = draw_outline(rng, 0.44 * outline.radius, 0.16), int(rng.integers(2**31))
    vessels = []
    for angle in rng.uniform(0, 2 * np.pi, 8):
        rim = 0.95 * outline.radius * np.array([np.cos(angle), np.sin(angle)])
        vessels.append(draw_vessel(rng, rim, angle + np.pi, outline.radius * rng.uniform(0.7, 1.1)))
    painter = partial(
        _paint_basal_cell_carcinoma,
        place=(eye, -1.0 if at_canthus else along),
        outline=outline,
        crater=crater,
        ulcer=onset(0.55, 0.85, strength),
        vessels=vessels[: 4 + int(4 * strength)],
        seed=seed,
    )
    return Finding(painters=(painter,))


def _paint_basal_cell_carcinoma(
    canvas: Canvas,
    anchors: Anchors,
    *,
    place: tuple[int, float],
    outline: Outline,
    crater: Outline,
    ulcer: float,
    vessels: Sequence[Array],
    seed: int,
) -> None:
    radius = outline.radius
    centre = _below_lower_lid(anchors, place, radius)
    part = window(canvas, centre, 1.7 * radius, over_eye=True)
    if part is None:
        return
    distance = outline.distance(part, centre)
    body, rim = smoothstep(1.04, 0.90, distance), np.exp(-(((distance - 0.80) / 0.15) ** 2))
    redden(part, 0.35 * smoothstep(1.5, 0.9, distance))
    veil(part, PEARL, body * (0.66 + 0.20 * rim), 0.34)
    veil(part, PEARL * (1.0, 0.55, 0.60), 0.45 * body * smoothstep(0.75, 0.3, distance), 0.34)
    raise_skin(part, radius * (0.42 * np.sqrt(np.clip(1 - distance**2, 0, 1)) + 0.12 * rim * body))
    shine(part, 1.0, body)
    for line in vessels:
        stroke(part, line + centre, 0.0045, BLOOD, 0.75)
    pit = crater.distance(part, centre)
    floor = smoothstep(1.1, 0.75, pit)
    raise_skin(part, -radius * (0.06 + 0.32 * ulcer) * smoothstep(1.2, 0.2, pit))
    veil(part, BLOOD, ulcer * 0.85 * floor)
    tint(part, CRUST, ulcer * floor * smoothstep(-0.15, 0.3, grain(part, 0.35 * radius, seed)))
    shine(part, 0.15, ulcer * floor)
    mark(part, body)


def squamous_cell_carcinoma(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Ill-defined red plaque of the lid margin under yellow-white keratin, crusted and bleeding."""
    eye, upper, along = int(rng.integers(2)), bool(rng.random() < 0.35), float(rng.uniform(-0.35, 0.65))
    # An upper lid leaves less room, so growth there is flatter and spares the brow.
    aspect = float(rng.uniform(0.58, 0.75)) * (0.75 if upper else 1.0)
    tilt, seed = float(rng.normal(0, 0.2)), int(rng.integers(2**31))
    outline = draw_outline(rng, 0.082 + 0.062 * strength, 0.16, aspect, tilt)
    sores = []
    for _ in range(5):
        offset = rng.uniform(-0.6, 0.6, 2) * (outline.radius, outline.radius * aspect)
        sores.append((offset, float(rng.uniform(0.15, 0.26)) * outline.radius))
    painter = partial(
        _paint_squamous_cell_carcinoma,
        strength=strength,
        place=(eye, along),
        upper=upper,
        outline=outline,
        sores=sores[: 2 + int(3 * strength)],
        seed=seed,
    )
    state = EyeState(lid_redness=0.25 * strength, lid_swelling=0.2 * strength, conjunctival_redness=0.15 * strength)
    return Finding(_one_eye(eye, state), (painter,))


def _paint_squamous_cell_carcinoma(
    canvas: Canvas,
    anchors: Anchors,
    *,
    strength: float,
    place: tuple[int, float],
    upper: bool,
    outline: Outline,
    sores: Sequence[tuple[Array, float]],
    seed: int,
) -> None:
    radius, half_width = outline.radius, outline.radius * outline.aspect
    centre = _above_upper_lid(anchors, place, half_width) if upper else _below_lower_lid(anchors, place, half_width)
    part = window(canvas, centre, 2.2 * radius)
    growth = window(canvas, centre, 2.2 * radius, over_eye=True)
    if part is None or growth is None:
        return
    distance = outline.distance(part, centre)
    texture, clumps = grain(part, 0.022, seed), grain(part, 0.045, seed + 1)
    body = smoothstep(1.12, 0.82, distance + 0.16 * clumps)
    redden(part, 0.75 * smoothstep(1.75, 0.8, distance), brown=0.5)
    veil(growth, RAW, 0.82 * body, 0.40)
    raise_skin(growth, radius * (0.20 * smoothstep(1.1, 0.4, distance) + 0.07 * body * texture))
    shine(growth, 0.04, body)
    scale = body * smoothstep(-0.22, 0.12, clumps + 0.35 * texture - 0.35 * (distance - 0.55))
    veil(growth, KERATIN, (0.60 + 0.34 * strength) * scale)
    raise_skin(growth, 0.10 * radius * scale * (1 + texture))
    for offset, size in sores:
        sore = body * spot(growth, centre + offset, size, 0.75 * size)
        veil(growth, BLOOD, 1.3 * sore)
        tint(growth, CRUST, sore * smoothstep(0.0, 0.5, texture))
        raise_skin(growth, -0.12 * radius * sore)
        shine(growth, 0.6, 0.5 * sore)
    mark(growth, body)


def conjunctivitis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Diffuse redness towards the fornices, discharge, tears and puffy lids; both eyes four times in five."""
    purulent = float(rng.uniform(0.5, 1.0))
    first = EyeState(
        conjunctival_redness=0.35 + 0.65 * strength,
        vessels=0.3 + 0.5 * strength,
        chemosis=0.5 * strength**2,
        discharge=0.25 + 0.75 * strength * purulent,
        tearing=0.3 + 0.6 * strength,
        lid_swelling=0.15 + 0.35 * strength,
        lid_redness=0.15 + 0.35 * strength,
        upper_lid_drop=0.12 * strength,
    )
    return Finding(_both_or_one(rng, first, 0.8, 0.75))


def uveitis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Ciliary flush of one eye with a small irregular pupil; haze, then hypopyon when severe; quiet lids."""
    state = EyeState(
        ciliary_flush=0.45 + 0.55 * strength,
        conjunctival_redness=0.12 * strength,
        pupil_scale=0.72 - 0.27 * strength,
        pupil_irregularity=0.25 + 0.65 * strength,
        corneal_haze=0.40 * strength**2,
        hypopyon=0.38 * onset(0.6, 1.0, strength),
        tearing=0.2 * strength,
    )
    return Finding(_one_eye(int(rng.integers(2)), state))


def ptosis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Low upper lid with a weak crease under a raised brow; one eye, one time in six both."""
    state = EyeState(
        upper_lid_drop=0.15 + 0.45 * strength,
        lid_crease_loss=0.4 + 0.5 * strength,
        brow_raise=0.25 + 0.75 * strength * float(rng.uniform(0.6, 1.0)),
    )
    return Finding(_both_or_one(rng, state, 1 / 6, 0.7))


def strabismus(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """One eye turned by 18 to 35 degrees: inwards, outwards or upwards."""
    angle = 18 + 17 * strength + float(rng.uniform(-1.5, 0))
    kind = rng.choice(["esotropia", "exotropia", "hypertropia"], p=[0.45, 0.40, 0.15])
    state = {
        "esotropia": EyeState(deviation_horizontal=angle),
        "exotropia": EyeState(deviation_horizontal=-angle),
        "hypertropia": EyeState(deviation_vertical=6 + 0.65 * angle, deviation_horizontal=-3.0),
    }[kind]
    return Finding(_one_eye(int(rng.integers(2)), state))


def thyroid_associated_ophthalmopathy(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Retracted lids with scleral show, bulging eyes, full lids; both eyes, one a little more."""
    state = EyeState(
        upper_lid_raise=0.20 + 0.55 * strength,
        lower_lid_drop=0.10 + 0.35 * strength,
        proptosis=0.25 + 0.75 * strength,
        lid_swelling=0.20 + 0.50 * strength,
        lid_redness=0.10 + 0.30 * strength,
        vessels=0.15 + 0.30 * strength,
        conjunctival_redness=0.15 * strength,
        chemosis=0.25 * strength,
    )
    return Finding(_both_or_one(rng, state, 1.0, float(rng.uniform(0.75, 1.0))))


FINDINGS = {
    "bcc": basal_cell_carcinoma,
    "conjunctivitis": conjunctivitis,
    "normal": normal,
    "ptosis": ptosis,
    "scc": squamous_cell_carcinoma,
    "strabismus": strabismus,
    "tao": thyroid_associated_ophthalmopathy,
    "uveitis": uveitis,
}


def _below_lower_lid(anchors: Anchors, place: tuple[int, float], radius: float) -> Array:
    """Where a tumour of ``radius`` sits on the lower lid's margin, or beside the nose for t near -1."""
    eye, along = place
    x, y = anchors.lower_lid(eye, np.asarray(along))
    towards_nose = -np.sign(anchors.eye_centre[eye, 0]) * max(0.0, -along - 0.6) * 1.2 * radius
    return np.array([float(x) + towards_nose, float(y) + OVERLAP * radius])


def _above_upper_lid(anchors: Anchors, place: tuple[int, float], radius: float) -> Array:
    x, y = anchors.upper_lid(place[0], np.asarray(place[1]))
    return np.array([float(x), float(y) - OVERLAP * radius])


def _one_eye(eye: int, state: EyeState) -> tuple[EyeState, EyeState]:
    return (state, HEALTHY) if eye == 0 else (HEALTHY, state)


def _both_or_one(rng: np.random.Generator, state: EyeState, both: float, share: float) -> tuple[EyeState, EyeState]:
    """Give ``state`` to one eye and, with probability ``both``, a ``share`` of it to the other."""
    first, second = state, _scaled(state, share) if rng.random() < both else HEALTHY
    return (first, second) if rng.random() < 0.5 else (second, first)


def _scaled(state: EyeState, share: float) -> EyeState:
    rest = vars(HEALTHY)
    return EyeState(**{name: rest[name] + share * (value - rest[name]) for name, value in vars(state).items()})
