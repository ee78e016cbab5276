"""The canvas of healthy skin: colour, wrinkles, lips, nostrils, brows, beard, before any disease paints on it."""

from __future__ import annotations

import numpy as np

from generation.phantom.anatomy import Subject, brow_centre, eye_centre, face_to_eye
from generation.phantom.canvas import Array, Canvas, Finding
from generation.phantom.fields import edge, gauss, line, mix, noise, smoothstep
from generation.phantom.geometry import Head, Mouth, brow_curve, lip_lines, mouth
from generation.phantom.shot import Shot

_RED = np.array([0.10, 0.55, 0.50], dtype=np.float32)


def window(x: Array, y: Array, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of the photo that hold every pixel whose face coordinates lie in (x0, x1, y0, y1)."""
    inside = (x > box[0]) & (x < box[1]) & (y > box[2]) & (y < box[3])
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    top, left = int(rows[0]) // 2 * 2, int(columns[0]) // 2 * 2
    return slice(top, (int(rows[-1]) + 2) // 2 * 2), slice(left, (int(columns[-1]) + 2) // 2 * 2)


def smooth_tint(subject: Subject, head: Head) -> Array:
    """Slow variations of the skin on the head's grid (H, W, 4): three factors of albedo, and the beard's density."""
    s, x, y = subject, head.x, head.y
    base = s.eye_y + s.nose_length
    red = 0.10 * gauss(x, y, 0, base - 0.03, 0.11, 0.08) + 0.05 * noise(x * 3.1, y * 3.1, s.seed + 1)
    dark = 0.035 * noise(x * 5, y * 5, s.seed + 2)
    for index in (0, 1):
        side = -1 if index == 0 else 1
        cx, cy = eye_centre(s, index)
        red = red + (0.13 + 0.05 * s.child) * gauss(x, y, side * 0.42, 0.14, 0.15, 0.11)
        dark = dark + (0.10 + 0.10 * s.elder) * gauss(x, y, cx * 0.94, cy + 0.095, 0.11, 0.045)
        dark = dark + 0.10 * gauss(x, y, cx, cy - 0.07, 0.13, 0.05)
        dark = dark + 0.16 * gauss(x, y, side * 0.12, cy, 0.05, 0.07)
    red = red * (1.0 if s.skin_tone <= 6 else 0.6)
    tint = (1 - dark[..., None] * np.array([0.8, 1.0, 1.0], np.float32)) * (
        1 - np.clip(red, -0.3, 0.6)[..., None] * _RED
    )
    jaw = smoothstep(0.10, 0.32, y + 0.55 * np.abs(x) - 0.18) * smoothstep(
        0.15, 0.55, np.abs(x) + 0.9 * np.clip(y - 0.35, 0, 1)
    )
    lip_zone = gauss(x, y, 0, s.mouth_y - 0.105, 0.17, 0.045)
    beard = np.clip(jaw + smoothstep(0.60, 0.70, y), 0, 1) * smoothstep(-0.1, 0.05, y)
    moustache = np.clip(1.3 * lip_zone, 0, 1)
    density = np.maximum(beard * max(s.beard, 0.30 * s.stubble), moustache * max(s.moustache, 0.34 * s.stubble))
    return np.concatenate([tint, density[..., None]], axis=-1).astype(np.float32)


def paint_skin(canvas: Canvas, subject: Subject, shot: Shot, finding: Finding, beard: Array) -> None:
    """Adds to a slowly tinted canvas fine texture, folds, freckles, lips, nostrils and the hair of the face.

    ``beard`` (H, W) is the density of facial hair in [0, 1].
    """
    x, y = canvas.x, canvas.y
    grain = noise(x * 30, y * 30, subject.seed + 3)
    canvas.albedo *= (1 + (0.012 + 0.012 * subject.elder) * grain)[..., None]
    canvas.bump += np.float32((0.0004 + 0.0005 * subject.elder) * min(1.0, 1.6 - 0.12 * subject.skin_tone)) * grain
    if subject.freckles > 0.05 or subject.elder > 0.4:
        _spots(canvas, subject)
    _folds(canvas, subject, shot, finding)
    _nostrils(canvas, subject)
    _lips(canvas, subject, mouth(subject, shot))
    if beard.max() > 0.03:
        _beard(canvas, subject, beard)
    for index in (0, 1):
        _lid_skin(canvas, subject, finding, index)
        _brow(canvas, subject, finding, index)


def _spots(canvas: Canvas, subject: Subject) -> None:
    field = noise(canvas.x * 30 + canvas.y * 13, canvas.y * 30 - canvas.x * 13, subject.seed + 5)
    zone = gauss(canvas.x, canvas.y, 0, 0.0, 0.38, 0.17)
    freckles = subject.freckles * zone * smoothstep(0.9, 1.9, field)
    if subject.elder > 0.4:
        old = noise(canvas.x * 8 + canvas.y * 5, canvas.y * 8 - canvas.x * 5, subject.seed + 6)
        freckles = freckles + 0.45 * (subject.elder - 0.4) * smoothstep(1.5, 2.3, old)
    canvas.albedo *= 1 - freckles[..., None] * np.array([0.35, 0.5, 0.6], np.float32)


def _crease(canvas: Canvas, part: tuple[slice, slice], strength: Array, depth: float) -> None:
    """A fold of the skin: a groove in the relief and a thin shade."""
    canvas.bump[part] -= np.float32(depth) * strength
    canvas.albedo[part] *= 1 - np.float32(0.22) * strength[..., None] * np.array([0.8, 1, 1], np.float32)


def _folds(canvas: Canvas, subject: Subject, shot: Shot, finding: Finding) -> None:
    s, age, width = subject, subject.wrinkles, max(0.011, 0.75 * canvas.pixel)
    raised = max(state.brow_raise for state in finding.eyes)
    forehead = 0.85 * max(0.0, age - 0.15) + 0.7 * raised * (0.3 + min(1.0, age + 0.3))
    if forehead > 0.05:
        low, high = s.eye_y - s.brow_gap - 0.07, s.hairline_y + 0.05
        part = window(canvas.x, canvas.y, (-0.55, 0.55, high, low))
        x, y = canvas.x[part], canvas.y[part]
        wobble = 0.03 * noise(x * 3.5, y * 2, s.seed + 11) + 0.05 * x * x
        fade = smoothstep(0.55, 0.25, np.abs(x)) * (0.7 + 0.3 * noise(x * 4, y * 14, s.seed + 12))
        for k in range(4):
            _crease(canvas, part, forehead * fade * line(y - low + 0.085 * k + wobble + 0.02, width), 0.007)
    if age > 0.2:
        part = window(canvas.x, canvas.y, (-0.12, 0.12, s.eye_y - 0.30, s.eye_y - 0.04))
        x, y = canvas.x[part], canvas.y[part]
        fade = gauss(x, y, 0, s.eye_y - 0.17, 1.0, 0.05)
        frown = line(np.abs(x) - 0.032 - 0.1 * (y - s.eye_y + 0.17) * 0.4, width)
        _crease(canvas, part, 0.55 * age * fade * frown, 0.005)
    for side in (-1, 1):
        part = window(side * canvas.x, canvas.y, (s.nose_half_width * 0.6, 0.62, 0.12, 0.78))
        x, y = side * canvas.x[part], canvas.y[part]
        top = s.eye_y + s.nose_length - 0.06
        run = (y - top) / (s.mouth_y + 0.03 - top)
        path = x - (
            s.nose_half_width
            + 0.015
            + (s.mouth_half_width * 1.12 - s.nose_half_width + 0.02) * np.clip(run, 0, 1.3) ** 1.2
        )
        fade = smoothstep(-0.05, 0.2, run) * smoothstep(1.25, 0.75, run)
        strength = 0.16 + 0.75 * age + 0.55 * shot.smile - 0.12 * s.child
        _crease(canvas, part, max(0.0, strength) * fade * line(path, 1.7 * width), 0.013)
        if age > 0.35:
            droop = x - s.mouth_half_width * 1.05 - 0.12 * (y - s.mouth_y)
            fade = smoothstep(0.0, 0.05, y - s.mouth_y) * smoothstep(0.20, 0.10, y - s.mouth_y)
            _crease(canvas, part, (age - 0.35) * fade * line(droop, 1.3 * width), 0.012)
    crow = 0.9 * max(0.0, age - 0.15) + 0.45 * shot.smile * (s.age > 28) + 0.2 * shot.squint * age
    for index in (0, 1):
        cx, cy = eye_centre(s, index)
        part = window(canvas.x, canvas.y, (cx - 0.40, cx + 0.40, cy - 0.13, cy + 0.22))
        u, v = face_to_eye(s, index, canvas.x[part], canvas.y[part])
        if crow > 0.05:
            du, dv = u - s.eye_half_width * 0.9, v - 0.005
            reach = np.hypot(du, dv) + np.float32(1e-4)
            fan = np.arctan2(dv, du)
            fade = smoothstep(0.03, 0.07, reach) * smoothstep(0.21, 0.11, reach) * smoothstep(0.9, 0.6, np.abs(fan))
            for ray in (-0.55, -0.18, 0.2, 0.55):
                _crease(canvas, part, crow * fade * line((fan - ray) * reach, 0.8 * width), 0.005)
        if age > 0.12:
            t = np.clip(u / s.eye_half_width, -1.2, 1.2)
            bag = v - s.lower_height - 0.085 * np.sqrt(np.clip(1.44 - t * t, 0, 2)) + 0.03
            fade = smoothstep(1.15, 0.7, np.abs(t + 0.1))
            _crease(canvas, part, 0.65 * age * fade * line(bag, 1.2 * width), 0.008)


def _nostrils(canvas: Canvas, subject: Subject) -> None:
    s, base = subject, subject.eye_y + subject.nose_length
    part = window(canvas.x, canvas.y, (-0.3, 0.3, base - 0.15, base + 0.1))
    x, y = canvas.x[part], canvas.y[part]
    shade = np.zeros_like(x)
    for side in (-1, 1):
        hole = gauss(
            x,
            y,
            side * 0.46 * s.nose_half_width,
            base + 0.012 - 0.3 * s.nose_tip_up,
            0.20 * s.nose_half_width,
            0.013,
            side * 0.30,
        )
        wing = line(
            np.hypot((x * side - 0.62 * s.nose_half_width) / 0.42, (y - base + 0.028) / 0.55 * 1.2) - np.float32(0.105),
            0.022,
        )
        wing = wing * smoothstep(0.75, 0.95, x * side / s.nose_half_width) * smoothstep(base + 0.03, base + 0.01, y)
        shade = np.maximum(shade, np.maximum(0.90 * hole, 0.30 * wing))
    below = 0.12 * gauss(x, y, 0, base + 0.026, 0.6 * s.nose_half_width, 0.016)
    canvas.albedo[part] *= 1 - np.maximum(shade, below)[..., None] * np.array([0.86, 0.95, 0.97], np.float32)


def _lips(canvas: Canvas, subject: Subject, m: Mouth) -> None:
    part = window(canvas.x, canvas.y, (-m.half_width - 0.06, m.half_width + 0.06, m.y - 0.16, m.y + 0.26))
    x, y, pixel = canvas.x[part], canvas.y[part], canvas.pixel
    if x.size == 0:
        return
    t = np.clip(x / np.float32(m.half_width), -1, 1)
    top, up, down, bottom = lip_lines(subject, m, t)
    across = edge(np.float32(m.half_width) - np.abs(x), 2 * pixel)
    soft = 2.2 * pixel + 0.006
    lips = edge(y - top, soft) * edge(bottom - y, soft) * across
    colour = np.array(subject.lip_colour, np.float32)
    lines = 1 + 0.06 * noise(x * 45, y * 8, subject.seed + 21)
    albedo = mix(canvas.albedo[part], colour * lines[..., None] * (1 - 0.18 * (y < up))[..., None], 0.85 * lips)
    body = np.clip((bottom - y) / np.maximum(bottom - down, 0.01), 0, 1)
    rise = lips * np.where(
        y > down, np.sin(np.pi * body) * 0.020, 0.010 * np.clip((y - top) / np.maximum(up - top, 0.01), 0, 1)
    )
    canvas.bump[part] += rise.astype(np.float32)
    canvas.gloss[part] += (0.40 - 0.03 * subject.skin_tone - canvas.gloss[part]) * lips
    gap = edge(y - up, 1.5 * pixel) * edge(down - y, 1.5 * pixel) * across * (down - up > 0.002)
    seam = line(y - (up + down) / 2, max(0.009, 0.7 * pixel)) * across
    albedo *= 1 - 0.80 * (seam * (1 - gap))[..., None] * np.array([0.85, 1, 1], np.float32)
    opening = np.maximum(down - up, 1e-3)
    teeth = smoothstep(0.062, 0.045, y - up) * (0.75 + 0.25 * np.cos(x * 75) ** 2) * smoothstep(1, 0.55, np.abs(t))
    inside = (
        np.array([0.10, 0.02, 0.02], np.float32)
        + teeth[..., None] * np.array([0.60, 0.56, 0.47], np.float32) * np.clip(opening * 25, 0, 1)[..., None]
    )
    canvas.albedo[part] = mix(albedo, inside, gap)
    canvas.skin[part] *= 1 - np.maximum(lips, gap)


def _beard(canvas: Canvas, subject: Subject, density: Array) -> None:
    strands = noise(canvas.x * 75 + 11 * canvas.y, canvas.y * 38 - 9 * canvas.x, subject.seed + 31)
    cover = np.clip(density * (0.88 + 0.14 * strands), 0, 0.95) * np.where(canvas.skin > 0.5, 1, 0.15)
    canvas.albedo[:] = mix(
        canvas.albedo, np.array(subject.brow_colour, np.float32) * (1 + 0.18 * strands)[..., None], cover
    )
    canvas.bump += 0.0008 * density * strands
    canvas.gloss *= 1 - 0.6 * cover


def _lid_skin(canvas: Canvas, subject: Subject, finding: Finding, index: int) -> None:
    """Inflamed lids: red, taut, shiny skin around the eye."""
    state = finding.eyes[index]
    redness, swelling = state.lid_redness, state.lid_swelling
    if max(redness, swelling) < 0.01:
        return
    cx, cy = eye_centre(subject, index)
    part = window(canvas.x, canvas.y, (cx - 0.34, cx + 0.34, cy - 0.26, cy + 0.28))
    u, v = face_to_eye(subject, index, canvas.x[part], canvas.y[part])
    ring = np.exp(-((u / 0.20) ** 4) - np.where(v < 0, v / 0.125, v / 0.14) ** 4)
    blotch = 1 + 0.15 * noise(u * 12, v * 12, subject.seed + 41 + index)
    depth = (
        np.array([0.12, 0.60, 0.52], np.float32) if subject.skin_tone <= 6 else np.array([0.20, 0.55, 0.42], np.float32)
    )
    canvas.albedo[part] *= 1 - np.clip(0.95 * redness * ring * blotch, 0, 1)[..., None] * depth
    canvas.gloss[part] += 0.30 * swelling * ring
    canvas.albedo[part] *= 1 - 0.16 * swelling * (line(v - 0.165 + 0.9 * u * u, 0.022) * (np.abs(u) < 0.19))[..., None]


def _brow(canvas: Canvas, subject: Subject, finding: Finding, index: int) -> None:
    s, side = subject, (-1 if index == 0 else 1)
    bx, by = brow_centre(s, index)
    by -= 0.06 * finding.eyes[index].brow_raise
    part = window(canvas.x, canvas.y, (bx - 0.30, bx + 0.30, by - 0.14, by + 0.14))
    x, y = side * (canvas.x[part] - np.float32(bx)), canvas.y[part] - np.float32(by)
    t = x / np.float32(s.brow_length)
    offset = y - brow_curve(s, t)
    half = s.brow_thickness * (1.05 - 0.55 * np.clip((t + 0.4) / 1.4, 0, 1) ** 1.5)
    hairs = noise(x * 95 - y * 110, y * 45 + x * 30, s.seed + 51)
    body = smoothstep(1.35, 0.75, np.abs(offset) / half + 0.12 * hairs) * smoothstep(
        1.12, 0.92, np.abs(t + 0.03) + 0.04 * hairs
    )
    cover = np.clip(body * s.brow_density * (0.90 + 0.18 * hairs) * smoothstep(-1.15, -0.6, t + 0.06 * hairs), 0, 0.95)
    canvas.albedo[part] = mix(
        canvas.albedo[part], np.broadcast_to(np.array(s.brow_colour, np.float32), (*t.shape, 3)), cover
    )
    canvas.gloss[part] *= 1 - 0.7 * cover
    canvas.bump[part] += 0.0012 * cover * hairs
