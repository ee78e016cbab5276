"""The signs of the dermatology clinic, painted on the skin of the whole face.

Functions as in ``eye_clinic``: strength, subject and generator in, a finding out. Signs after the MSD Manual.
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
    SILVER,
    Outline,
    draw_outline,
    draw_vessel,
    grain,
    mark,
    onset,
    papule,
    raise_skin,
    redden,
    shine,
    spot,
    stroke,
    tint,
    veil,
    window,
)
from generation.phantom.signs.eye_clinic import normal

SALMON = (0.62, 0.16, 0.105)
SCRATCH = (0.24, 0.035, 0.022)
COMEDONE = (0.030, 0.020, 0.015)
GREASE = (0.84, 0.66, 0.28)


def psoriasis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Sharply bordered salmon plaques under thick silvery scale; hairline, temples, cheeks."""
    seed, side = int(rng.integers(2**31)), int(rng.integers(2))
    places = [("forehead", side), ("cheek", 1 - side), ("temple", side), ("forehead", 1 - side)]
    places += [("cheek", side), ("forehead", 2), ("temple", 1 - side)]
    size = 0.065 + 0.085 * strength
    plaques = []
    for place, number in places:
        aspect, offset = float(rng.uniform(0.6, 0.95)), rng.normal(0, 0.03, 2)
        outline = draw_outline(rng, size * float(rng.uniform(0.85, 1.15)), 0.085, aspect)
        plaques.append((place, number, offset, outline))
    used = plaques[: 2 + round(5 * strength)]
    return Finding(painters=(partial(_paint_psoriasis, strength=strength, plaques=used, seed=seed),))


def _paint_psoriasis(
    canvas: Canvas,
    anchors: Anchors,
    *,
    strength: float,
    plaques: Sequence[tuple[str, int, Array, Outline]],
    seed: int,
) -> None:
    for place, number, offset, outline in plaques:
        if place == "forehead":
            # Psoriasis of the face creeps down from the scalp, so these plaques hang at the hairline.
            x = (-0.58, 0.58, 0.0)[number] * anchors.face_half_width
            centre = np.array([x, 0.5 * anchors.hairline_y + 0.5 * anchors.forehead[1]]) + offset
        else:
            centre = getattr(anchors, place)[number] + offset
        part = window(canvas, centre, 1.6 * outline.radius)
        if part is None:
            continue
        distance = outline.distance(part, centre)
        body = smoothstep(1.05, 0.95, distance)
        flakes, texture = grain(part, 0.050, seed), grain(part, 0.018, seed + 1)
        veil(part, SALMON, 0.86 * body, 0.20)
        bare = 0.24 - 0.75 * strength
        scale = smoothstep(0.94, 0.74, distance) * smoothstep(bare, bare + 0.3, flakes + 0.45 * texture)
        veil(part, np.array(SILVER) * (0.86 + 0.22 * texture)[..., None], (0.55 + 0.30 * strength) * scale, 0.40)
        raise_skin(part, 0.012 * body + 0.010 * scale * (1 + 0.7 * texture))
        shine(part, 0.12, body)
        mark(part, body)


def atopic_dermatitis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Ill-defined dry red-brown patches of lids and cheeks, scratched; infraorbital folds, pale mouth."""
    seed, sizes = int(rng.integers(2**31)), rng.uniform(0.85, 1.15, (2, 2))
    scratches = []
    for _ in range(18):
        side, lean = int(rng.integers(2)), float(rng.normal(1.1, 0.3))
        middle, length = rng.normal(0, 0.055, 2), float(rng.uniform(0.035, 0.075))
        along = np.array([np.cos(lean) * (1 if side else -1), np.sin(lean)]) * length / 2
        scratches.append((side, np.stack([middle - along, middle + 0.1 * along[::-1], middle + along])))
    painter = partial(
        _paint_atopic_dermatitis,
        strength=strength,
        scratches=scratches[: int(18 * strength)],
        sizes=sizes,
        crease=np.array(subject.skin_colour) * (0.42, 0.30, 0.30),
        seed=seed,
    )
    inflamed = EyeState(lid_swelling=0.30 * strength, lid_redness=0.30 + 0.35 * strength)
    return Finding((inflamed, inflamed), (painter,))


def _paint_atopic_dermatitis(
    canvas: Canvas,
    anchors: Anchors,
    *,
    strength: float,
    scratches: Sequence[tuple[int, Array]],
    sizes: Array,
    crease: Array,
    seed: int,
) -> None:
    area = np.zeros_like(canvas.x)
    for side in range(2):
        lids = spot(canvas, anchors.eye_centre[side], 0.23 * sizes[0, side], 0.17)
        cheek = spot(canvas, anchors.cheek[side] + (0, 0.04), 0.13 * sizes[1, side], 0.115)
        area = np.maximum(area, 1.15 * np.maximum(lids, cheek))
    # The blotches of different size are what makes the border ill-defined.
    area = np.clip(area, 0, 1) * np.clip(0.72 + 0.55 * grain(canvas, 0.11, seed), 0, 1)
    redden(canvas, (0.42 + 0.58 * strength) * area, brown=0.8)
    texture = grain(canvas, 0.016, seed + 1)
    flakes = smoothstep(0.0, 0.9, texture + 0.6 * grain(canvas, 0.05, seed + 2))
    veil(canvas, SILVER, (0.12 + 0.30 * strength) * area * flakes, 0.25)
    raise_skin(canvas, 0.0035 * strength * area * texture)
    shine(canvas, 0.03, area)
    across = np.hypot((canvas.x - anchors.mouth_centre[0]) / 1.45, canvas.y - anchors.mouth_centre[1])
    pale = np.exp(-(((across - 0.12) / 0.06) ** 2))
    tint(canvas, np.clip(canvas.albedo * 1.25 + 0.04, 0, 1), (0.30 + 0.35 * strength) * pale)
    for side, line in scratches:
        stroke(canvas, anchors.cheek[side] + line, 0.0050, SCRATCH, 0.75)
    for eye in range(2):
        x, y = anchors.lower_lid(eye, np.linspace(-0.8, 0.75, 9))
        for below in (0.055, 0.085):
            fold = np.stack([x, y + below * np.linspace(0.75, 1.15, 9)], -1)
            stroke(canvas, fold, 0.0065, crease, 0.35 + 0.35 * strength)
    mark(canvas, np.where(area > 0.45, 1.0, 0.0))


def acne(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Comedones, papules and pustules of forehead, cheeks and chin; pitted scars when severe."""
    places = rng.choice(["forehead", "cheek", "chin"], 80, p=[0.32, 0.48, 0.20])
    kinds = rng.choice(["papule", "pustule", "comedone"], 80, p=[0.38, 0.30, 0.32])
    spread = {"forehead": (0.52, 0.11), "cheek": (0.17, 0.19), "chin": (0.19, 0.08)}
    spots = []
    for place, kind in zip(places, kinds, strict=True):
        side, offset = int(rng.integers(2)), rng.uniform(-1, 1, 2) * spread[place]
        spots.append((str(place), str(kind), side, offset, float(rng.uniform(0.8, 1.25))))
    used = spots[: int(14 + 52 * strength)]
    return Finding(painters=(partial(_paint_acne, strength=strength, spots=used),))


def _paint_acne(
    canvas: Canvas,
    anchors: Anchors,
    *,
    strength: float,
    spots: Sequence[tuple[str, str, int, Array, float]],
) -> None:
    centres: dict[str, Sequence[Array]] = {
        "forehead": [anchors.forehead] * 2,
        "cheek": list(anchors.cheek),
        "chin": [anchors.chin] * 2,
    }
    for number, (place, kind, side, offset, size) in enumerate(spots):
        centre = centres[place][side] + offset
        if kind == "comedone":
            part = window(canvas, centre, 0.05)
            if part is not None:
                plug = spot(part, centre, 0.0095 * size, 0.0095 * size)
                tint(part, COMEDONE, 0.85 * plug)
                mark(part, np.where(plug > 0.4, 1.0, 0.0))
        else:
            pustule = 0.95 if kind == "pustule" else 0.0
            papule(canvas, centre, (0.015 + 0.009 * strength) * size, 0.70 + 0.25 * strength, pustule)
        if strength > 0.6 and number % 3 == 0:
            pit = np.add(centre, (0.035, 0.025))
            part = window(canvas, pit, 0.05)
            if part is not None:
                raise_skin(part, -0.025 * (strength - 0.6) * spot(part, pit, 0.010, 0.010))


def rosacea(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Redness of nose, cheeks and mid-forehead with fine vessels and papules; a bulbous nose when severe."""
    seed = int(rng.integers(2**31))
    vessels, bumps = [], []
    for _ in range(34):
        site, start = int(rng.choice(3, p=[0.2, 0.4, 0.4])), rng.normal(0, 0.055, 2)
        vessels.append((site, draw_vessel(rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.09))))
        bumps.append((site, rng.normal(0, 1, 2) * (0.07, 0.06), float(rng.uniform(0.8, 1.2))))
    # Phyma is a disease of men above all; women's noses thicken less.
    phyma = onset(0.65, 1.0, strength) * (1.0 if subject.gender == "male" else 0.45)
    painter = partial(
        _paint_rosacea,
        strength=strength,
        vessels=vessels[: int(10 + 24 * strength)],
        bumps=bumps[: int(32 * max(0.0, strength - 0.3))],
        phyma=phyma,
        seed=seed,
    )
    return Finding(painters=(painter,))


def _paint_rosacea(
    canvas: Canvas,
    anchors: Anchors,
    *,
    strength: float,
    vessels: Sequence[tuple[int, Array]],
    bumps: Sequence[tuple[int, Array, float]],
    phyma: float,
    seed: int,
) -> None:
    nose = anchors.nose_tip
    sites = [nose, *(cheek * (0.85, 1.0) for cheek in anchors.cheek)]
    areas = [1.15 * spot(canvas, nose, 0.085, 0.075), spot(canvas, np.add(nose, (0, -0.09)), 0.06, 0.12)]
    areas += [1.2 * spot(canvas, cheek, 0.13, 0.105) for cheek in sites[1:]]
    areas += [0.6 * spot(canvas, np.add(anchors.glabella, (0, -0.10)), 0.10, 0.07)]
    areas += [0.65 * spot(canvas, np.add(anchors.chin, (0, -0.04)), 0.10, 0.07)]
    spared = [(*anchors.eye_centre[eye], 0.16, 0.085) for eye in range(2)] + [(*anchors.mouth_centre, 0.20, 0.07)]
    red = np.clip(np.maximum.reduce(areas), 0, 1) * (0.88 + 0.2 * grain(canvas, 0.06, seed))
    for x, y, width, height in spared:
        red *= smoothstep(0.8, 1.25, np.hypot((canvas.x - x) / width, (canvas.y - y) / height))
    redden(canvas, (0.35 + 0.55 * strength) * red)
    shine(canvas, 0.45, red)
    for site, line in vessels:
        squeezed = line * (0.7, 0.7) if site == 0 else line
        stroke(canvas, sites[site] + squeezed, 0.0032, BLOOD, 0.55 + 0.25 * strength)
    for site, offset, size in bumps:
        papule(canvas, sites[site] + offset * (0.6 if site == 0 else 1.0), 0.019 * size, 0.65)
    if phyma > 0:
        bulb = spot(canvas, nose, 0.085, 0.07)
        raise_skin(canvas, phyma * bulb * (0.035 + 0.022 * grain(canvas, 0.045, seed + 1)))
    mark(canvas, np.where(red > 0.5, 1.0, 0.0))


def seborrheic_dermatitis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Greasy yellow scale on red skin of the nasolabial folds, brows, glabella and hairline."""
    seed, sides = int(rng.integers(2**31)), rng.uniform(0.85, 1.1, 2)
    painter = partial(_paint_seborrheic_dermatitis, strength=strength, sides=sides, seed=seed)
    return Finding(painters=(painter,))


def _paint_seborrheic_dermatitis(canvas: Canvas, anchors: Anchors, *, strength: float, sides: Array, seed: int) -> None:
    areas = [0.95 * spot(canvas, anchors.glabella, 0.055, 0.075)]
    for side in range(2):
        outwards = float(np.sign(anchors.nasolabial[side, 0]))
        fold = spot(canvas, anchors.nasolabial[side] + (-0.01 * outwards, -0.02), 0.10, 0.040, outwards * 1.05)
        brow = spot(canvas, anchors.brow[side] + (0, -0.01), 0.15, 0.045)
        areas += [1.25 * sides[side] * fold, sides[side] * brow]
    hairline = anchors.hairline_y + 0.05 - 0.03 * grain(canvas, 0.1, seed + 3)
    areas += [(0.4 + 0.6 * strength) * np.exp(-(((canvas.y - hairline) / 0.045) ** 2))]
    area = np.clip(np.maximum.reduce(areas), 0, 1) * (0.85 + 0.3 * grain(canvas, 0.07, seed))
    redden(canvas, (0.35 + 0.55 * strength) * area, brown=0.3)
    clumps, bare = grain(canvas, 0.030, seed + 1), 0.42 - 0.62 * strength
    scale = smoothstep(0.25, 0.7, area) * smoothstep(bare, bare + 0.33, clumps)
    veil(canvas, GREASE, (0.50 + 0.30 * strength) * scale)
    raise_skin(canvas, 0.007 * scale * (1 + clumps))
    shine(canvas, 0.75, 0.8 * area)
    mark(canvas, np.where(area > 0.5, 1.0, 0.0))


FINDINGS = {
    "psoriasis": psoriasis,
    "atopic_dermatitis": atopic_dermatitis,
    "acne": acne,
    "rosacea": rosacea,
    "seborrheic_dermatitis": seborrheic_dermatitis,
    "normal": normal,
}
