"""Around the face: scalp hair, ears, neck, clothes and background."""

from __future__ import annotations

import numpy as np

from generation.phantom.anatomy import Subject
from generation.phantom.canvas import Array
from generation.phantom.fields import edge, gauss, mix, noise, smoothstep
from generation.phantom.geometry import Head, View
from generation.phantom.shot import Shot


def hair_depth(subject: Subject, head: Head) -> Array:
    """How far (face units) each point of the head's grid lies inside the front hair; negative on bare skin."""
    s, x, y = subject, head.x, head.y
    across = np.abs(x) / np.float32(s.face_half_width)
    if s.hair_style == "bald":
        return np.minimum(across - 0.965, 0.1 - np.abs(y + 0.25)) * 0.3
    recede = s.temple_recession * 0.28 * np.exp(-(((across - 0.55) / 0.2) ** 2))
    border = s.hairline_y - recede + 0.62 * np.clip(across, 0, 1.2) ** 5 + 0.05 * across**2
    wave = 0.016 * noise(x * 9, y * 4, s.seed + 101)
    depth = border - y + wave
    depth = np.where(y > 0.02, np.minimum(depth, 0.02 - y), depth)
    if s.hair_style == "fringe":
        low = (
            s.eye_y
            - s.brow_gap
            - 0.115
            + 0.05 * x * s.parting
            + 0.10 * across**2
            + 0.03 * noise(x * 11, np.zeros((), np.float32), s.seed + 102)
        )
        depth = np.maximum(depth, np.minimum(low - y, 1.0 - across))
    if s.hair_style == "parted":
        sweep = (
            s.hairline_y + 0.02 + 0.22 * np.clip((x * np.sign(s.parting + 1e-6)) / s.face_half_width + 0.1, 0, 1) ** 1.5
        )
        depth = np.maximum(depth, sweep - y + wave)
    if s.hair_style in ("long", "bob"):
        length = 1.2 if s.hair_style == "long" else s.mouth_y + 0.12
        curtain = (
            across - 0.86 - 0.10 * np.clip(y + 0.2, 0, 1) + 0.03 * np.sin(y * 7 + s.hair_wave * 6) * s.hair_wave
        ) * s.face_half_width
        depth = np.maximum(depth, np.minimum(curtain, length - y))
    return depth.astype(np.float32)


def strands(subject: Subject, x: Array, y: Array) -> Array:
    """Light and dark of hair strands (H, W), about 1 on average."""
    s = subject
    bend = 0.10 * s.hair_wave * np.sin(y * 9 + 4 * s.hair_wave)
    if s.hair_style in ("buzz", "bald"):
        return 1 + 0.18 * noise(x * 55, y * 55, s.seed + 111)
    around = np.arctan2(x - s.parting * 0.4, y + np.float32(1.9)) if s.hair_style != "fringe" else x * np.float32(0.7)
    coarse, fine = (
        noise((around + bend * 0.5) * 22, y * 1.4, s.seed + 112),
        noise((around + bend * 0.5) * 75, y * 2.5, s.seed + 113),
    )
    return np.clip(1 + 0.30 * coarse + 0.26 * fine, 0.25, 2.0)


def hair_colour(subject: Subject, x: Array, y: Array) -> Array:
    """Linear colour (H, W, 3) of the hair."""
    return np.array(subject.hair_colour, np.float32) * strands(subject, x, y)[..., None] + np.float32(0.004)


def surroundings(subject: Subject, shot: Shot, view: View, skin_light: Array, hair_light: float) -> Array:
    """Linear picture (H, W, 3) of all that lies behind the face; ``skin_light`` (3,) lights skin and cloth."""
    s, fx, fy = subject, view.frame_x, view.frame_y
    x, y = view.plain_x, view.plain_y
    pixel = 2.0 / fx.shape[0]
    blotch = 1 + 0.10 * noise(fx * 1.3, fy * 1.3, shot.seed + 121) - 0.12 * fy
    picture = np.array(shot.background, np.float32) * blotch[..., None]
    strand = hair_colour(s, x, y) * np.float32(hair_light)
    full = s.hair_style in ("long", "bob")
    crown = s.face_half_width * (1.05 + (0.6 * s.hair_volume if s.hair_style not in ("bald", "buzz") else -0.02))
    if full:
        low = 1.25 if s.hair_style == "long" else s.mouth_y + 0.22
        spread = crown + 0.10 * np.clip(y + 0.3, 0, 1) + 0.03 * np.sin(6 * y + 5 * s.hair_wave) * s.hair_wave
        back = edge(spread - np.abs(x) - 0.55 * np.clip(-0.45 - y, 0, 1) ** 2, 3 * pixel) * edge(
            low - y + 0.05 * np.abs(x), 6 * pixel
        )
        picture = mix(picture, strand * 0.6, back)
    neck_half = 0.42 + 0.06 * s.male + 0.02 * s.elder - 0.05 * s.child
    neck = edge(neck_half + 0.12 * np.clip(y - 0.75, 0, 1) - np.abs(x), 3 * pixel) * smoothstep(0.3, 0.4, y)
    under = 0.36 + 0.35 * smoothstep(s.chin_y, s.chin_y + 0.35, y) - 0.25 * (np.abs(x) / neck_half) ** 4 * 0.6
    picture = mix(
        picture,
        np.array(s.skin_colour, np.float32)
        * np.array([1.0, 0.92, 0.9], np.float32)
        * skin_light
        * np.clip(under, 0.1, 1)[..., None],
        neck,
    )
    collar = y - (1.02 + 0.10 * np.cos(x * 3.2)) - 0.05 * x * x
    picture = mix(
        picture,
        np.array(shot.clothes, np.float32) * skin_light * (1 - 0.2 * np.abs(x))[..., None],
        edge(collar + 0.25 * smoothstep(0.25, 0.6, np.abs(x)), 4 * pixel),
    )
    picture = _ears(s, picture, x, y, skin_light, pixel)
    if s.hair_style != "bald":
        bottom = {"buzz": -0.16, "short": -0.06, "parted": -0.02, "fringe": 0.06}.get(s.hair_style, 0.35)
        reach = crown * np.clip(1 - (np.clip(-0.25 - y, 0, 2) / 1.15) ** 2.5, 0, 1) ** 0.4
        cap = edge(reach - np.abs(x), 3 * pixel) * smoothstep(
            bottom + 0.05, bottom - 0.04, y + 0.012 * noise(x * 20, y * 4, s.seed + 122)
        )
        picture = mix(picture, strand * 0.85, cap)
    return picture


def _ears(s: Subject, picture: Array, x: Array, y: Array, skin_light: Array, pixel: float) -> Array:
    skin = np.array(s.skin_colour, np.float32) * np.array([1.0, 0.86, 0.82], np.float32)
    for side in (-1, 1):
        u = (side * x - s.face_half_width * 1.0) - 0.05 * (0.05 - y)
        v = y - np.float32(s.eye_y + 0.17)
        outline = 1 - (u / 0.085) ** 2 - (v / s.ear_size) ** 2
        cover = edge(outline * 0.05, 1.5 * pixel)
        groove = gauss(u, v, 0.030, -0.02, 0.022, 0.10) * 0.45 + gauss(u, v, 0.0, 0.02, 0.03, 0.05) * 0.3
        light = np.clip(0.68 - groove + 0.15 * outline, 0.1, 1)
        picture = mix(picture, skin * skin_light * light[..., None], cover)
    return picture
