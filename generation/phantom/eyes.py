"""The eyes: globe, iris, pupil, lid margins, lashes and crease of one eye, healthy or as a sign asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generation.phantom.anatomy import Subject, face_to_eye, lid_profile
from generation.phantom.canvas import Array, EyeState
from generation.phantom.fields import edge, gauss, line, mix, noise, smoothstep
from generation.phantom.geometry import lid_margins, rotation
from generation.phantom.shot import Shot

_GLOBE = 0.135
_MAX_TURN = 38.0


@dataclass(frozen=True)
class EyeLayer:
    """Laid over the skin of an eye: linear ``colour`` (H, W, 3), its ``cover`` and lash ``shade`` in [0, 1]."""

    colour: Array
    cover: Array
    shade: Array


def gaze_angles(shot: Shot, state: EyeState, index: int) -> tuple[float, float]:
    """True gaze (yaw, pitch) in degrees in camera axes of one eye, its deviation included."""
    yaw, pitch = shot.gaze_yaw, shot.gaze_pitch
    nasal = 1.0 if index == 0 else -1.0
    head_yaw, head_pitch = _to_head(shot, yaw, pitch)
    head_yaw = float(np.clip(head_yaw + nasal * state.deviation_horizontal, -_MAX_TURN, _MAX_TURN))
    head_pitch = float(np.clip(head_pitch + state.deviation_vertical, -_MAX_TURN, _MAX_TURN))
    return _angles(rotation(shot) @ _direction(head_yaw, head_pitch))


def _direction(yaw: float, pitch: float) -> Array:
    a, b = np.radians(yaw), np.radians(pitch)
    return np.array([np.sin(a) * np.cos(b), -np.sin(b), np.cos(a) * np.cos(b)], dtype=np.float32)


def _angles(direction: Array) -> tuple[float, float]:
    yaw = float(np.degrees(np.arctan2(direction[0], direction[2])))
    return yaw, float(np.degrees(np.arcsin(np.clip(-direction[1], -1, 1))))


def _to_head(shot: Shot, yaw: float, pitch: float) -> tuple[float, float]:
    return _angles(rotation(shot).T @ _direction(yaw, pitch))


def eye_layer(
    subject: Subject, shot: Shot, state: EyeState, index: int, x: Array, y: Array, pixel: float, light: Array
) -> EyeLayer:
    """One eye over face coordinates x, y (H, W) whose pixels are ``pixel`` wide, lit by ``light`` (3,) linear RGB."""
    s, nasal_x = subject, (1.0 if index == 0 else -1.0)
    u, v = face_to_eye(s, index, x, y)
    a = s.eye_half_width
    t = u / np.float32(a)
    top_amplitude, bottom_amplitude = lid_margins(s, shot, state)
    upper, lower = lid_profile(t, True), lid_profile(t, False)
    top = np.float32(top_amplitude) * (upper if top_amplitude < 0 else lower)
    bottom = np.float32(bottom_amplitude) * lower
    between = np.float32(a) - np.abs(u)
    opening = edge(v - top, pixel) * edge(bottom - v, pixel) * edge(between, pixel)

    toward_nose, rise = _iris_shift(shot, state, index)
    radius = s.iris_radius
    rest_v = 0.45 * (s.lower_height - s.upper_height) * 0.6
    iu, iv = -toward_nose, rest_v - rise
    globe = _globe(s, state, u, v, t, top, bottom, iu, iv)
    globe = _iris(globe, s, shot, state, u, v, iu, iv, pixel)
    shadow = np.exp(-np.clip(v - top, 0, None) / np.float32(0.022))
    globe = globe * (1 - 0.62 * shadow[..., None])
    globe = globe * (1 - 0.22 * np.abs(t) ** 3)[..., None] * light

    still_u, still_v = -_GLOBE * np.sin(np.radians(_to_head(shot, shot.gaze_yaw, shot.gaze_pitch)[0])) * nasal_x, rest_v
    lu, lv = 0.42 * radius * shot.light[0] * -nasal_x + still_u * 0.6, 0.5 * radius * shot.light[1] + still_v
    glint = edge(np.float32(0.0125) - np.hypot(u - lu, v - lv), max(pixel, 0.006))
    globe = mix(globe, np.float32(1.05) * light / light.max(), 0.95 * glint * (1 - 0.6 * state.corneal_haze))

    wet = line(v - bottom + 0.008, 0.007) * opening
    globe = mix(globe, np.array([0.62, 0.38, 0.33], np.float32) * light, 0.55 * wet * (1 - 0.8 * state.tearing))
    if state.tearing > 0.01:
        globe = mix(
            globe,
            np.float32(0.95) * light,
            state.tearing * 0.75 * line(v - bottom + 0.012, 0.008) * opening,
        )

    shade = _lashes_and_crease(s, state, index, u, v, t, top, bottom, pixel)
    colour, cover = globe, opening
    if state.chemosis > 0.01:
        colour, cover = _chemosis(colour, cover, state, t, v, top, bottom, light, pixel)
    if state.discharge > 0.01:
        colour, cover = _discharge(colour, cover, s, state, index, u, v, t, top, bottom, light)
    return EyeLayer(colour, cover, shade * (1 - 0.75 * opening))


def _iris_shift(shot: Shot, state: EyeState, index: int) -> tuple[float, float]:
    """How far the iris lies towards the nose and upwards from the middle of the healthy aperture."""
    nasal = 1.0 if index == 0 else -1.0
    yaw, pitch = _to_head(shot, shot.gaze_yaw, shot.gaze_pitch)
    inward = np.clip(nasal * yaw + state.deviation_horizontal, -_MAX_TURN, _MAX_TURN)
    upward = np.clip(pitch + state.deviation_vertical, -_MAX_TURN, _MAX_TURN)
    return float(_GLOBE * np.sin(np.radians(inward))), float(_GLOBE * np.sin(np.radians(upward)))


def _globe(
    s: Subject, state: EyeState, u: Array, v: Array, t: Array, top: Array, bottom: Array, iu: float, iv: float
) -> Array:
    """Sclera and conjunctiva, with redness, ciliary flush and vessels."""
    yellow = 0.05 * s.elder + 0.015 * max(0, s.skin_tone - 6)
    sclera = np.array([0.66, 0.62 - 0.6 * yellow, 0.595 - 1.5 * yellow], np.float32) * (
        1 - 0.04 * max(0, s.skin_tone - 6)
    )
    colour = np.broadcast_to(sclera, (*u.shape, 3))
    distance = np.hypot(u - np.float32(iu), v - np.float32(iv))
    pink = 0.10 * smoothstep(0.5, 1.0, np.abs(t))
    colour = mix(colour, np.array([0.66, 0.40, 0.36], np.float32), pink)
    if state.conjunctival_redness > 0.01:
        rim = np.minimum(v - top, bottom - v)
        away = smoothstep(s.iris_radius, s.iris_radius + 0.11, distance)
        fornix = smoothstep(0.05, 0.0, rim)
        weight = state.conjunctival_redness * np.clip(0.48 + 0.38 * away + 0.30 * fornix, 0, 0.95)
        weight = weight * (1 + 0.12 * noise(u * 40, v * 40, s.seed + 61))
        colour = mix(colour, np.array([0.62, 0.105, 0.085], np.float32), np.clip(weight, 0, 0.95))
    if state.ciliary_flush > 0.01:
        ring = np.exp(-((np.clip(distance - 1.02 * s.iris_radius, 0, None) / np.float32(0.55 * s.iris_radius)) ** 2))
        spokes = 1 + 0.25 * np.sin(np.arctan2(v - iv, u - iu) * 40 + 3 * noise(u * 20, v * 20, s.seed + 62))
        colour = mix(
            colour,
            np.array([0.46, 0.050, 0.13], np.float32),
            np.clip(0.9 * state.ciliary_flush * ring * spokes, 0, 0.95),
        )
    veins = max(state.vessels, 0.6 * state.conjunctival_redness, 0.05)
    around = np.arctan2(v - np.float32(iv), (u - np.float32(iu)))
    web = noise(around * 5, distance * 12, s.seed + 63) + 0.5 * noise(u * 45, v * 45, s.seed + 64)
    thin = line(web, 0.16) * smoothstep(s.iris_radius * 1.02, s.iris_radius * 1.8, distance)
    fine = line(noise(around * 10 + 7, distance * 16, s.seed + 65), 0.13) * smoothstep(
        s.iris_radius * 1.2, s.iris_radius * 2.2, distance
    )
    colour = mix(
        colour,
        np.array([0.55, 0.06, 0.055], np.float32),
        np.clip(0.85 * veins * thin + 0.6 * veins * fine, 0, 0.9),
    )
    caruncle = gauss(t, v / np.float32(0.05), -0.95, 0.25, 0.10, 0.45)
    return mix(colour, np.array([0.55, 0.22, 0.20], np.float32), np.clip(1.1 * caruncle, 0, 0.9))


def _iris(
    globe: Array,
    s: Subject,
    shot: Shot,
    state: EyeState,
    u: Array,
    v: Array,
    iu: float,
    iv: float,
    pixel: float,
) -> Array:
    """Iris with fibres and limbus, pupil, and what lies in the anterior chamber."""
    radius = np.float32(s.iris_radius)
    du, dv = u - np.float32(iu), v - np.float32(iv)
    squeeze_u = np.float32(np.sqrt(max(0.5, 1 - (iu / _GLOBE) ** 2)))
    squeeze_v = np.float32(np.sqrt(max(0.5, 1 - (iv / _GLOBE) ** 2)))
    du, dv = du / squeeze_u, dv / squeeze_v
    distance, around = np.hypot(du, dv), np.arctan2(dv, du)
    ratio = distance / radius
    fibres = noise(around * 9, ratio * 2.0, s.seed + 71) * 0.16
    ring = 1 - 0.72 * smoothstep(0.80, 1.0, ratio) + 0.35 * line(ratio - 0.52, 0.16)
    colour = np.array(s.iris_colour, np.float32) * ((1 + fibres) * ring * (1.15 - 0.15 * dv / radius))[..., None]
    collar = smoothstep(0.62, 0.40, ratio) * (0.5 if s.iris_colour[2] > s.iris_colour[0] * 0.6 else 0.15)
    colour = mix(colour, np.array([0.20, 0.11, 0.04], np.float32), collar)
    dilation = 0.40 + 0.06 * (1.0 - shot.light_intensity) + 0.05 * s.child - 0.06 * s.elder
    lobes = (
        0.20 * np.sin(3 * around + s.seed % 7)
        + 0.16 * np.sin(5 * around + s.seed % 11)
        + 0.10 * np.sin(2 * around + s.seed % 5)
    )
    pupil_radius = (
        np.float32(np.clip(dilation * state.pupil_scale, 0.12, 0.85))
        * radius
        * (1 + 1.15 * state.pupil_irregularity * lobes)
    )
    pupil = edge(pupil_radius - distance, max(pixel, 0.004))
    colour = mix(colour, np.full(3, 0.006, np.float32), pupil)
    if state.hypopyon > 0.01:
        level = radius * np.float32(1 - 1.05 * min(1.0, 0.18 + 0.82 * state.hypopyon))
        layer = edge(dv - level, max(pixel, 0.004)) * 0.95
        colour = mix(colour, np.array([0.78, 0.74, 0.56], np.float32), layer)
    if state.corneal_haze > 0.01:
        cloud = np.clip(state.corneal_haze * (0.72 + 0.12 * noise(du * 30, dv * 30, s.seed + 72)), 0, 0.9)
        colour = mix(colour, np.array([0.48, 0.51, 0.53], np.float32), cloud)
    return mix(globe, colour, edge(radius - distance, max(2.0 * pixel, 0.007)))


def _lashes_and_crease(
    s: Subject,
    state: EyeState,
    index: int,
    u: Array,
    v: Array,
    t: Array,
    top: Array,
    bottom: Array,
    pixel: float,
) -> Array:
    """Darkness in [0, 1] of lashes, lid margins and the upper lid's crease."""
    near = edge(np.float32(s.eye_half_width * 1.04) - np.abs(u), 2 * pixel)
    made_up = 1.0 if s.male < 0 and s.age > 16 else 0.75
    lean = (v - top) * (1.6 * t)
    comb = 0.62 + 0.38 * noise((u + lean) * 75, np.array(0.5, np.float32), s.seed + 81 + index)
    height = np.float32(0.026) * (0.75 + 0.35 * np.clip(t, -1, 1)) * made_up
    up = np.clip(top - v, 0, None) / height
    fringe = smoothstep(1.0, 0.15, up) * comb * (v < top) * 0.85 * made_up
    margin = line(v - top, max(0.0085, 0.8 * pixel)) * 0.92
    shade = np.maximum(fringe, margin) * near
    down = np.clip(v - bottom, 0, None) / np.float32(0.016)
    low = smoothstep(1.0, 0.1, down) * (v > bottom) * (0.30 * comb + 0.08) * made_up
    low = np.maximum(low, 0.36 * line(v - bottom, max(0.006, 0.7 * pixel)))
    shade = np.maximum(shade, low * near)
    lifted = np.float32(0.75 * (state.upper_lid_raise - 0.35 * state.upper_lid_drop) * 0.03)
    crease_at = (
        -np.float32(s.upper_height) * lid_profile(t, True)
        - np.float32(s.crease) * np.sqrt(np.clip(1.15 - t * t, 0, 2))
        - lifted
    )
    crease_at = np.minimum(crease_at, top - np.float32(0.012))
    present = s.crease_depth * (1 - state.lid_crease_loss) * (1 - 0.85 * state.lid_swelling) * (1 + 0.2 * s.elder)
    fold = line(v - crease_at, max(0.0085, 0.8 * pixel)) * smoothstep(1.12, 0.85, np.abs(t + 0.02))
    hollow = 0.25 * smoothstep(0.03, 0.0, np.abs(v - crease_at - 0.008)) * smoothstep(1.1, 0.6, np.abs(t))
    return np.clip(np.maximum(shade, np.clip(present, 0, 1.1) * (0.62 * fold + 0.5 * hollow)), 0, 0.97)


def _chemosis(
    colour: Array,
    cover: Array,
    state: EyeState,
    t: Array,
    v: Array,
    top: Array,
    bottom: Array,
    light: Array,
    pixel: float,
) -> tuple[Array, Array]:
    """A glassy, swollen conjunctiva that laps over the lower lid's edge."""
    body = np.sqrt(np.clip(1 - (t * 0.98) ** 2, 0, 1))
    over = bottom + np.float32(0.026 * state.chemosis) * body
    inner = bottom - np.float32(0.042 * state.chemosis) * body * (1 + 0.15 * np.sin(t * 9))
    bulge = edge(v - np.maximum(inner, top), 2 * pixel) * edge(over - v, 2 * pixel) * (body > 0)
    across = np.clip((v - inner) / np.maximum(over - inner, 1e-3), 0, 1)
    tone = np.array([0.74, 0.40, 0.34], np.float32) * light * (0.70 + 0.45 * np.sin(np.pi * across))[..., None]
    gleam = line(across - 0.32, 0.13) * (0.55 + 0.45 * np.sin(t * 17)) * 0.8
    tone = mix(tone, np.float32(0.95) * light, np.clip(gleam, 0, 1))
    weight = bulge * np.float32(0.85 * min(1.0, 0.4 + state.chemosis))
    return mix(colour, tone, weight), np.maximum(cover, weight)


def _discharge(
    colour: Array,
    cover: Array,
    s: Subject,
    state: EyeState,
    index: int,
    u: Array,
    v: Array,
    t: Array,
    top: Array,
    bottom: Array,
    light: Array,
) -> tuple[Array, Array]:
    """Yellow-white clumps on the lash lines and in the nasal corner."""
    rng = np.random.default_rng([s.seed, index, 0xD15C])
    weight = np.zeros_like(u)
    for k in range(9):
        place, on_lower, size, wide = (
            rng.uniform(-0.95, 0.9),
            rng.random() < 0.7,
            rng.uniform(0.007, 0.014),
            rng.uniform(1, 2.2),
        )
        if k == 0:
            place, on_lower, size, wide = -1.0, True, 0.020, 1.0
        if k >= 1 + 8 * state.discharge:
            continue
        margin = (bottom if on_lower else top).ravel()[np.abs(t - np.float32(place)).argmin()]
        shift = 0.004 if on_lower else -0.004
        clump = gauss(u, v, place * s.eye_half_width, float(margin) + shift, size * wide, size)
        weight = np.maximum(weight, smoothstep(0.3, 0.65, clump * (0.5 + 0.5 * state.discharge) * 1.3))
    strand = (
        state.discharge
        * line(v - bottom + 0.002, 0.009)
        * smoothstep(-0.2, 0.5, noise(u * 22, np.zeros((), np.float32), s.seed + 91))
        * (np.abs(t) < 1)
    )
    weight = np.clip(np.maximum(weight, 0.8 * strand), 0, 0.93)
    tone = np.array([0.74, 0.64, 0.30], np.float32) * light
    return mix(colour, tone, weight), np.maximum(cover, weight)
