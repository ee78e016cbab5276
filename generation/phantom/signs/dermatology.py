"""The signs of the dermatology clinic, painted on the skin of the whole face.

Functions as in ``eye_clinic``: strength, subject and generator in, a finding out. Signs after the MSD Manual.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from generation.phantom.anatomy import Subject
from generation.phantom.canvas import Anchors, Array, Canvas, EyeState, Finding
from generation.phantom.fields import smoothstep
from generation.phantom.signs.brushes import (
    BLOOD,
    CRUST,
    Outline,
    draw_outline,
    draw_vessel,
    grain,
    mark,
    papule,
    raise_skin,
    redden,
    shine,
    spot,
    stroke,
    tint,
    whiten,
    window,
)
from generation.phantom.signs.eye_clinic import normal

SALMON = np.array([0.60, 0.17, 0.11], np.float32)
COMEDONE = (0.035, 0.022, 0.016)
GREASE = (0.86, 0.68, 0.30)


def psoriasis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Sharply bordered salmon plaques with thick silvery scale at the hairline, the temples and the
    cheeks."""
    seed, side = int(rng.integers(2**31)), int(rng.integers(2))
    places = [
        ("hairline", side),
        ("cheek", 1 - side),
        ("temple", side),
        ("hairline", 1 - side),
        ("cheek", side),
    ]
    places += [("hairline", 2), ("temple", 1 - side)]
    plaques = [
        (
            place,
            number,
            rng.normal(0, 0.035, 2),
            draw_outline(
                rng,
                (0.065 + 0.085 * strength) * float(rng.uniform(0.85, 1.15)),
                0.085,
                aspect=float(rng.uniform(0.6, 0.95)),
            ),
        )
        for place, number in places
    ][: 2 + round(5 * strength)]

    def paint(canvas: Canvas, anchors: Anchors) -> None:
        for place, number, offset, outline in plaques:
            if place == "hairline":
                x = (-0.62, 0.62, 0.0)[number] * anchors.face_half_width
                centre = np.array([x, 0.55 * anchors.hairline_y + 0.45 * anchors.forehead[1]])
            else:
                centre = np.array(getattr(anchors, place)[number])
            _plaque(canvas, centre + offset, outline, strength, seed)

    def _plaque(canvas: Canvas, centre: Array, outline: Outline, strength: float, seed: int) -> None:
        part = window(canvas, centre, 1.6 * outline.radius)
        if part is None:
            return
        distance = outline.distance(part, centre)
        body = smoothstep(1.05, 0.95, distance)
        lightness = np.clip(0.35 + 1.2 * part.albedo.mean(-1, keepdims=True), 0, 1)
        tint(part, SALMON * lightness, 0.85 * body)
        flakes, texture = grain(part, 0.040, seed), grain(part, 0.016, seed + 1)
        scale = smoothstep(0.98, 0.80, distance) * smoothstep(
            0.35 - 0.75 * strength, 0.60 - 0.75 * strength, flakes + 0.4 * texture
        )
        whiten(part, (0.70 + 0.25 * strength) * scale)
        raise_skin(part, 0.012 * body + 0.010 * scale * (1 + 0.7 * texture))
        shine(part, 0.12, body)
        mark(part, body)

    return Finding(painters=(paint,))


def atopic_dermatitis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Ill-defined dry red-brown patches of lids and cheeks, scratched, with infraorbital folds and a pale
    mouth."""
    seed = int(rng.integers(2**31))
    scratches = [
        (
            int(rng.integers(2)),
            rng.normal(0, 0.055, 2),
            float(rng.normal(1.1, 0.3)),
            float(rng.uniform(0.05, 0.10)),
        )
        for _ in range(16)
    ][: int(16 * strength)]
    sizes = rng.uniform(0.85, 1.15, (2, 2))

    def paint(canvas: Canvas, anchors: Anchors) -> None:
        patches, lids = np.zeros_like(canvas.x), np.zeros_like(canvas.x)
        for eye in range(2):
            wide, high = 1.45 * anchors.eye_half_width * sizes[0, eye], 2.1 * anchors.eye_half_width * 0.55
            lids = np.maximum(lids, 1.2 * spot(canvas, anchors.eye_centre[eye], wide, high))
            cheek = spot(canvas, anchors.cheek[eye] + [0, 0.03], 0.13 * sizes[1, eye], 0.11)
            patches = np.maximum(patches, 1.15 * cheek)
        mottled = 0.75 + 0.45 * grain(canvas, 0.10, seed)
        area = np.clip(np.maximum(lids, patches), 0, 1)
        redden(canvas, np.clip((0.25 + 0.65 * strength) * area * mottled, 0, 1), brown=0.75)
        texture = grain(canvas, 0.020, seed + 1)
        whiten(
            canvas,
            (0.15 + 0.35 * strength)
            * area
            * smoothstep(0.15, 0.55, texture + 0.25 * grain(canvas, 0.06, seed + 2)),
        )
        raise_skin(canvas, 0.004 * strength * area * texture)
        shine(canvas, 0.03, area)
        pale = np.exp(
            -(
                (
                    (
                        np.hypot(
                            (canvas.x - anchors.mouth_centre[0]) / 1.45, canvas.y - anchors.mouth_centre[1]
                        )
                        - 0.12
                    )
                    / 0.06
                )
                ** 2
            )
        )
        tint(canvas, np.clip(canvas.albedo * 1.25 + 0.05, 0, 1), (0.30 + 0.35 * strength) * pale)
        for side, offset, angle, length in scratches:
            lean = angle if side else np.pi - angle
            ends = (
                np.array([[-1.0, -1.0], [0.1, 0.0], [1.0, 1.0]]) * [np.cos(lean), np.sin(lean)] * length / 2
            )
            stroke(canvas, anchors.cheek[side] + offset + ends, 0.0060, CRUST, 0.85)
        for eye in range(2):
            for fold in (0.055, 0.085):
                _fold(canvas, anchors, eye, fold, 0.35 + 0.35 * strength)
        mark(canvas, np.where(area * mottled > 0.45, 1.0, 0.0))

    def _fold(canvas: Canvas, anchors: Anchors, eye: int, below: float, depth: float) -> None:
        x, y = anchors.lower_lid(eye, np.linspace(-0.8, 0.75, 9))
        line = np.stack([x, y + below * np.linspace(0.75, 1.15, 9)], -1)
        stroke(canvas, line, 0.0065, np.array(subject.skin_colour) * (0.42, 0.30, 0.30), depth)

    swollen = EyeState(lid_swelling=0.30 * strength, lid_redness=0.30 + 0.35 * strength)
    return Finding((swollen, swollen), (paint,))


def acne(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Comedones, papules and pustules over the forehead, the cheeks and the chin; pits and nodules when
    severe."""
    count = 80
    kinds = rng.choice(["papule", "pustule", "comedone"], count, p=[0.38, 0.30, 0.32])
    places = rng.choice(["forehead", "cheek", "chin", "nose"], count, p=[0.30, 0.46, 0.18, 0.06])
    sides, offsets, sizes = (
        rng.integers(2, size=count),
        rng.normal(0, 1, (count, 2)),
        rng.uniform(0.8, 1.25, count),
    )
    spread = {"forehead": (0.20, 0.055), "cheek": (0.085, 0.105), "chin": (0.10, 0.05), "nose": (0.03, 0.03)}
    used = int(14 + 56 * strength)

    def paint(canvas: Canvas, anchors: Anchors) -> None:
        centres = {
            "forehead": (anchors.forehead,) * 2,
            "cheek": anchors.cheek,
            "nose": (anchors.nose_tip,) * 2,
        }
        centres["chin"] = (anchors.chin + np.array([0.0, -0.05]),) * 2
        spots = [
            (kind, np.asarray(centres[place][side]) + offset * spread[place], size)
            for kind, place, side, offset, size in zip(kinds, places, sides, offsets, sizes, strict=True)
        ][:used]
        for kind, centre, size in spots:
            if kind == "comedone":
                _dot(canvas, centre, 0.0095 * size)
            else:
                papule(
                    canvas,
                    centre,
                    (0.016 + 0.009 * strength) * size,
                    0.70 + 0.25 * strength,
                    float(kind == "pustule"),
                )
        for _, centre, size in spots[: int(24 * (strength - 0.6))] if strength > 0.6 else ():
            pit = np.add(centre, (0.035, 0.025))
            part = window(canvas, pit, 0.05)
            if part is not None:
                raise_skin(part, -0.010 * size * spot(part, pit, 0.010, 0.010))

    def _dot(canvas: Canvas, centre: Array, radius: float) -> None:
        part = window(canvas, centre, 4 * radius)
        if part is not None:
            near = spot(part, centre, radius, radius)
            tint(part, COMEDONE, 0.8 * near)
            mark(part, np.where(near > 0.4, 1.0, 0.0))

    return Finding(painters=(paint,))


def rosacea(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Redness of cheeks, nose and mid-forehead with fine vessels and papules; a bulbous nose in severe
    men's."""
    seed = int(rng.integers(2**31))
    phyma = float(smoothstep(0.65, 1.0, strength)) * (1.0 if subject.gender == "male" else 0.45)
    starts = [(int(rng.integers(3)), rng.normal(0, 0.055, 2), rng.uniform(0, 2 * np.pi)) for _ in range(34)]
    lengths = rng.uniform(0.06, 0.12, 34)
    vessels = [
        (site, draw_vessel(rng, offset, angle, length))
        for (site, offset, angle), length in zip(starts, lengths, strict=True)
    ][: int(10 + 24 * strength)]
    bumps = [
        (int(rng.integers(3)), rng.normal(0, 1, 2) * [0.07, 0.06], rng.uniform(0.8, 1.2)) for _ in range(22)
    ]
    papules = bumps[: int(22 * max(0.0, strength - 0.3) / 0.7)]

    def paint(canvas: Canvas, anchors: Anchors) -> None:
        nose = anchors.nose_tip
        bridge = np.add(nose, (0, -0.09))
        red = np.maximum(1.15 * spot(canvas, nose, 0.085, 0.075), spot(canvas, bridge, 0.06, 0.12))
        inner = [cheek * [0.85, 1.0] + [0, -0.01] for cheek in anchors.cheek]
        for cheek in inner:
            red = np.maximum(red, 1.2 * spot(canvas, cheek, 0.13, 0.105))
        for centre, share in (
            (np.add(anchors.glabella, (0, -0.10)), 0.6),
            (np.add(anchors.chin, (0, -0.04)), 0.65),
        ):
            red = np.maximum(red, share * spot(canvas, centre, 0.10, 0.07))
        for eye in range(2):
            red *= 1 - _spared(canvas, anchors.eye_centre[eye], 0.16, 0.085)
        red *= 1 - _spared(canvas, anchors.mouth_centre, 0.20, 0.07)
        red = np.clip(red, 0, 1) * (0.88 + 0.2 * grain(canvas, 0.06, seed))
        redden(canvas, (0.35 + 0.55 * strength) * red)
        shine(canvas, 0.45, red)
        sites = [nose, *inner]
        for site, line in vessels:
            squeezed = line * [0.5, 0.6] if site == 0 else line
            stroke(canvas, sites[site] + squeezed, 0.0045, BLOOD, 0.55 + 0.25 * strength)
        for site, offset, size in papules:
            papule(canvas, sites[site] + offset * (0.45 if site == 0 else 1.0), 0.019 * size, 0.85)
        if phyma > 0:
            bulb = spot(canvas, nose, 0.085, 0.07)
            raise_skin(canvas, phyma * bulb * (0.035 + 0.022 * grain(canvas, 0.045, seed + 1)))
            redden(canvas, 0.45 * phyma * bulb)
        mark(canvas, np.where(red > 0.5, 1.0, 0.0))

    return Finding(painters=(paint,))


def seborrheic_dermatitis(strength: float, subject: Subject, rng: np.random.Generator) -> Finding:
    """Greasy yellow scale on red skin of the nasolabial folds, the brows, the glabella and the hairline."""
    seed = int(rng.integers(2**31))
    lopsided = rng.uniform(0.85, 1.1, 2)

    def paint(canvas: Canvas, anchors: Anchors) -> None:
        areas = [0.95 * spot(canvas, anchors.glabella, 0.055, 0.075)]
        for side in range(2):
            outwards = np.sign(anchors.nasolabial[side, 0])
            fold = spot(
                canvas, anchors.nasolabial[side] + [-0.01 * outwards, -0.02], 0.10, 0.040, outwards * 1.05
            )
            brow = spot(canvas, anchors.brow[side] + [0, -0.01], 0.15, 0.045)
            areas += [1.25 * lopsided[side] * fold, lopsided[side] * brow]
        band = np.exp(
            -(((canvas.y - anchors.hairline_y - 0.05 + 0.03 * grain(canvas, 0.1, seed + 3)) / 0.045) ** 2)
        )
        area = np.clip(np.maximum.reduce([*areas, (0.4 + 0.6 * strength) * band]), 0, 1)
        area *= 0.85 + 0.3 * grain(canvas, 0.07, seed)
        redden(canvas, (0.30 + 0.50 * strength) * area, brown=0.3)
        clumps = grain(canvas, 0.030, seed + 1)
        scale = smoothstep(0.25, 0.7, area) * smoothstep(
            0.42 - 0.62 * strength, 0.75 - 0.62 * strength, clumps
        )
        whiten(canvas, (0.50 + 0.30 * strength) * scale, GREASE)
        raise_skin(canvas, 0.007 * scale * (1 + clumps))
        shine(canvas, 0.75, 0.8 * area)
        mark(canvas, np.where(area > 0.5, 1.0, 0.0))

    return Finding(painters=(paint,))


FINDINGS = {
    "psoriasis": psoriasis,
    "atopic_dermatitis": atopic_dermatitis,
    "acne": acne,
    "rosacea": rosacea,
    "seborrheic_dermatitis": seborrheic_dermatitis,
    "normal": normal,
}


def _spared(canvas: Canvas, centre: Iterable[float], width: float, height: float) -> Array:
    x, y = centre
    return smoothstep(1.25, 0.8, np.hypot((canvas.x - x) / width, (canvas.y - y) / height))
