"""How one photo is taken: pose, light, expression, gaze, camera; all a function of a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Shot:
    """One photo's circumstances.

    ``yaw``, ``pitch``, ``roll`` in degrees: the face turns to the photo's right, upwards, clockwise. ``scale`` is a
    factor, ``offset`` (x, y) in face units. ``light`` is a unit vector to the light in camera axes (x right, y down,
    z towards the camera), ``light_intensity`` a factor, ``ambient`` in [0, 1], ``light_colour`` and
    ``white_balance`` linear RGB factors. ``smile``, ``mouth_open``, ``squint`` in [0, 1]. ``gaze_yaw``,
    ``gaze_pitch`` in degrees in camera axes (0 looks into the lens, positive = photo's right, up).
    ``noise`` is the sensor's standard deviation in sRGB [0, 1], ``blur`` a standard deviation as a share of the width.
    """

    seed: int
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float, float] = (-0.25, -0.4, 0.88)
    light_intensity: float = 1.0
    light_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ambient: float = 0.4
    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    smile: float = 0.0
    mouth_open: float = 0.0
    squint: float = 0.0
    gaze_yaw: float = 0.0
    gaze_pitch: float = 0.0
    noise: float = 0.006
    blur: float = 0.002
    background: tuple[float, float, float] = (0.45, 0.47, 0.5)
    clothes: tuple[float, float, float] = (0.1, 0.15, 0.25)


KEPT = 0.25
"""How much of a free photo's variation is left in a clinic's."""


def draw_shot(seed: int) -> Shot:
    """The shot of a seed: |yaw| <= 25, |pitch| <= 10, |roll| <= 8 degrees."""
    rng = np.random.default_rng([seed, 0x5407])

    def normal(spread: float, limit: float) -> float:
        return float(np.clip(rng.normal(0, spread), -limit, limit))

    yaw, pitch, roll = normal(11, 25), normal(4, 10), normal(3, 8)
    azimuth, elevation = rng.uniform(-0.45, 0.45), rng.uniform(0.1, 0.7)
    light = (
        float(np.sin(azimuth) * np.cos(elevation)),
        float(-np.sin(elevation)),
        float(np.cos(azimuth) * np.cos(elevation)),
    )
    warmth = normal(0.06, 0.12)
    balance = normal(0.03, 0.06)
    smiling = rng.random() < 0.25
    background = rng.uniform(0.08, 0.7) * np.exp(rng.normal(0, 0.05, 3))
    clothes = rng.uniform(0.03, 0.6) * np.exp(rng.normal(0, 0.25, 3))
    return Shot(
        seed=seed,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        scale=float(rng.uniform(0.90, 1.0)),
        offset=(normal(0.02, 0.04), normal(0.015, 0.03)),
        light=light,
        light_intensity=float(rng.uniform(0.85, 1.15)),
        light_colour=(1 + warmth, 1.0, 1 - warmth),
        ambient=float(rng.uniform(0.5, 0.68)),
        exposure=float(rng.uniform(0.85, 1.15)),
        white_balance=(1 + balance, 1.0, 1 - balance),
        smile=float(rng.uniform(0.3, 0.8)) if smiling else float(rng.uniform(0, 0.15)),
        mouth_open=float(rng.uniform(0.2, 0.7)) if rng.random() < 0.12 else 0.0,
        squint=float(rng.uniform(0, 0.3)),
        gaze_yaw=0.55 * yaw + normal(5, 12),
        gaze_pitch=0.55 * pitch + normal(3, 8),
        noise=float(rng.uniform(0.003, 0.011)),
        blur=float(rng.uniform(0.0, 0.004)),
        background=(float(background[0]), float(background[1]), float(background[2])),
        clothes=(float(clothes[0]), float(clothes[1]), float(clothes[2])),
    )


def clinical(shot: Shot) -> Shot:
    """The same photo by a clinic's protocol: head-on, at rest, under the clinic's lamp, in its gown, before its wall.

    What varied freely keeps a quarter of its variation, as no protocol is followed to the letter.
    """

    def towards(value: float, middle: float) -> float:
        return middle + KEPT * (value - middle)

    # The lamp hangs before and above the patient.
    x, y, z = (towards(value, middle) for value, middle in zip(shot.light, (0.0, -0.4, 0.9), strict=True))
    length = float(np.hypot(np.hypot(x, y), z))
    warm, green, cold = (towards(value, 1.0) for value in shot.white_balance)
    return replace(
        shot,
        yaw=KEPT * shot.yaw,
        pitch=KEPT * shot.pitch,
        roll=KEPT * shot.roll,
        scale=towards(shot.scale, 0.95),
        offset=(KEPT * shot.offset[0], KEPT * shot.offset[1]),
        light=(x / length, y / length, z / length),
        light_intensity=towards(shot.light_intensity, 1.0),
        light_colour=(1.0, 1.0, 1.0),
        ambient=towards(shot.ambient, 0.6),
        exposure=towards(shot.exposure, 1.0),
        white_balance=(warm, green, cold),
        smile=KEPT * shot.smile,
        mouth_open=0.0,
        gaze_yaw=KEPT * shot.gaze_yaw,
        gaze_pitch=KEPT * shot.gaze_pitch,
        noise=towards(shot.noise, 0.003),
        blur=towards(shot.blur, 0.001),
        background=(0.30, 0.34, 0.40),
        clothes=(0.28, 0.42, 0.42),
    )
