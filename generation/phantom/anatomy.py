"""Who is in the photo: one subject's lasting traits, all a function of a seed, and the anchors that signs steer by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generation.phantom.canvas import Anchors, Array
from generation.phantom.fields import linear

MONK_SKIN_TONES = (
    "f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420",
)  # fmt: skip
"""sRGB of the ten Monk skin tones, lightest first (skintone.google)."""

IRIS_COLOURS = {
    "dark brown": (0.075, 0.035, 0.018),
    "brown": (0.16, 0.075, 0.03),
    "hazel": (0.23, 0.15, 0.055),
    "green": (0.19, 0.23, 0.11),
    "grey": (0.26, 0.30, 0.33),
    "blue": (0.15, 0.26, 0.42),
}
HAIR_COLOURS = {
    "black": (0.012, 0.010, 0.010),
    "dark brown": (0.035, 0.020, 0.012),
    "brown": (0.085, 0.045, 0.022),
    "auburn": (0.17, 0.055, 0.022),
    "blond": (0.42, 0.28, 0.12),
}
HAIR_STYLES = ("bald", "buzz", "short", "parted", "fringe", "bob", "long")

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Subject:
    """One person. Lengths are in face units (half the photo's width), angles in radians, colours linear RGB.

    ``age`` lies in [5, 90], ``gender`` is "female" or "male", ``skin_tone`` the Monk tone 1..10. ``child`` and
    ``elder`` in [0, 1] say how far the face is from an adult's of 20 to 35 years in either direction; ``male`` how
    masculine its bones are.
    """

    seed: int
    age: float
    gender: str
    skin_tone: int
    child: float
    elder: float
    male: float
    face_half_width: float
    skull_height: float
    chin_y: float
    jaw_power: float
    cheek_power: float
    depth: float
    cheekbone: float
    cheek_fullness: float
    brow_ridge: float
    eye_x: float
    eye_y: float
    eye_half_width: float
    upper_height: float
    lower_height: float
    canthal_tilt: float
    crease: float
    crease_depth: float
    socket: float
    iris_radius: float
    iris_colour: Colour
    nose_length: float
    nose_half_width: float
    nose_height: float
    nose_bridge: float
    nose_tip_up: float
    mouth_y: float
    mouth_half_width: float
    upper_lip: float
    lower_lip: float
    cupid: float
    mouth_corner: float
    brow_gap: float
    brow_thickness: float
    brow_length: float
    brow_arch: float
    brow_slope: float
    brow_density: float
    chin_boss: float
    chin_cleft: float
    ear_size: float
    skin_colour: Colour
    lip_colour: Colour
    hair_colour: Colour
    brow_colour: Colour
    grey: float
    hair_style: str
    hairline_y: float
    temple_recession: float
    hair_volume: float
    hair_wave: float
    parting: float
    beard: float
    moustache: float
    stubble: float
    freckles: float
    wrinkles: float
    asymmetry: Colour


def _pick(rng: np.random.Generator, names: tuple[str, ...], weights: tuple[float, ...]) -> str:
    share = np.asarray(weights) / np.sum(weights)
    return names[int(np.searchsorted(np.cumsum(share), rng.random()).clip(0, len(names) - 1))]


def _hair_style(rng: np.random.Generator, age: float, male: bool) -> str:
    if not male:
        return _pick(rng, HAIR_STYLES, (0, 0, 0.8 if age > 55 else 0.3, 1.2, 1.3, 1.5, 2.5 if age < 60 else 1.0))
    bald = 0.0 if age < 25 else (age - 20) / 30
    return _pick(rng, HAIR_STYLES, (bald, 0.9, 2.2, 1.6, 1.0 if age < 30 else 0.3, 0.12, 0.12))


def skin_albedo(tone: int) -> Array:
    """Linear albedo (3,) of Monk tone 1..10, the lightest toned down, the darkest lifted so that shading shows."""
    code = MONK_SKIN_TONES[tone - 1]
    published = np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    albedo = linear(published)
    light, middle, dark = np.array([1.20, 0.91, 0.78]), np.array([1.45, 0.92, 0.62]), np.array([1.30, 0.93, 0.77])
    hue = np.array([np.interp(tone, (1, 6, 10), levels) for levels in zip(light, middle, dark, strict=True)])
    floor = np.array([0.062, 0.037, 0.026]) * np.clip((tone - 5) / 4, 0, 1)
    plain = 0.85 * albedo @ np.array([0.2126, 0.7152, 0.0722]) * hue
    return (0.012 + floor + 0.72 * plain + 0.28 * albedo) * (1 - 0.06 * max(0, 4 - tone))


def draw_subject(
    seed: int, *, age: float | None = None, gender: str | None = None, skin_tone: int | None = None
) -> Subject:
    """The subject of a seed; age, gender and skin tone may be prescribed without changing the other draws.

    Raises ValueError for an age outside [5, 90], an unknown gender or a tone outside 1..10.
    """
    rng = np.random.default_rng([seed, 0xFACE])
    drawn = (float(rng.uniform(5, 90)), "male" if rng.random() < 0.5 else "female", int(rng.integers(1, 11)))
    age = drawn[0] if age is None else float(age)
    gender = drawn[1] if gender is None else gender
    tone = drawn[2] if skin_tone is None else int(skin_tone)
    if not 5 <= age <= 90:
        raise ValueError(f"age {age} is outside 5..90")
    if gender not in ("female", "male"):
        raise ValueError(f"gender {gender!r} is neither 'female' nor 'male'")
    if not 1 <= tone <= 10:
        raise ValueError(f"skin tone {tone} is outside 1..10")
    child = float(np.clip((17 - age) / 12, 0, 1))
    elder = float(np.clip((age - 32) / 50, 0, 1.15))
    is_male = gender == "male"
    male = (1.0 if is_male else -1.0) * (1 - 0.75 * child)

    def normal(mean: float, spread: float) -> float:
        return float(mean + 1.55 * spread * np.clip(rng.standard_normal(), -1.5, 1.5))

    def uniform(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    dark_prior = (0.9, 2.0, 1.0, 0.25, 0.0) if tone <= 5 else (4.0, 1.0, 0.1, 0.0, 0.0)
    if tone <= 3:
        dark_prior = (0.6, 1.6, 1.6, 0.7, 1.5)
    hair = np.array(HAIR_COLOURS[_pick(rng, tuple(HAIR_COLOURS), dark_prior)]) * np.exp(normal(0, 0.15))
    irises = (0.5, 1.5, 1.2, 1.0, 1.0, 2.0) if tone <= 3 else (2.0, 2.0, 0.7, 0.3, 0.15, 0.1)
    if tone >= 6:
        irises = (3.0, 1.5, 0.15, 0.0, 0.0, 0.0)
    iris = np.array(IRIS_COLOURS[_pick(rng, tuple(IRIS_COLOURS), irises)]) * np.exp(normal(0, 0.15))
    grey = float(np.clip((age - uniform(32, 62)) / 25, 0, 1))
    grey_hair = np.array([0.34, 0.33, 0.32]) * uniform(0.5, 1.4) * (1.0 if tone <= 6 else 0.55)
    brow_hair = hair * 0.8 + (grey_hair * 0.6 - hair) * 0.35 * grey
    hair = hair + (grey_hair - hair) * grey
    skin = skin_albedo(tone) * np.exp(
        normal(0, 0.09) + np.clip(rng.normal(0.01, 0.04), -0.015, 0.08) * np.array([1.0, -0.2, -0.8])
    )
    lips = skin * np.array([0.86, 0.50, 0.52]) * np.exp(rng.normal(0, 0.07, 3)) * np.exp(normal(0, 0.12))
    if tone >= 7:
        lips = lips * np.array([0.92, 0.62, 0.66])
    if gender == "female" and 16 < age < 80 and rng.random() < 0.45:
        lips = lips * np.array([1.0, 0.55, 0.62])
    beard_kind = rng.random()
    grown = is_male and age >= 18
    beard = uniform(0.55, 1.0) if grown and beard_kind < 0.18 else 0.0
    moustache = beard if beard else (uniform(0.5, 1.0) if grown and beard_kind < 0.28 else 0.0)
    stubble = (uniform(0.1, 0.8) if beard_kind > 0.4 else 0.05) if is_male and age >= 16 else 0.0
    style = _hair_style(rng, age, is_male)

    return Subject(
        seed=seed,
        age=age,
        gender=gender,
        skin_tone=tone,
        child=child,
        elder=elder,
        male=male,
        face_half_width=normal(0.735 + 0.012 * male, 0.026),
        skull_height=normal(1.22, 0.05),
        chin_y=normal(0.835 + 0.025 * male - 0.095 * child, 0.030),
        jaw_power=max(1.4, normal(1.80 + 0.16 * male + 0.12 * elder + 0.1 * child, 0.22)),
        cheek_power=normal(2.25, 0.18),
        depth=normal(0.70, 0.03),
        cheekbone=normal(0.055 * (1 - 0.6 * child), 0.022),
        cheek_fullness=normal(0.02 + 0.05 * child - 0.035 * elder, 0.022),
        brow_ridge=max(0.0, normal(0.040 + 0.022 * male - 0.015 * child, 0.012)),
        eye_x=normal(0.335 - 0.008 * child, 0.018),
        eye_y=normal(-0.170 + 0.055 * child, 0.022),
        eye_half_width=normal(0.160, 0.006),
        upper_height=normal(0.066 + 0.006 * child - 0.008 * elder - 0.002 * male, 0.0065),
        lower_height=normal(0.053 + 0.004 * child - 0.002 * elder, 0.0045),
        canthal_tilt=normal(0.055 - 0.06 * elder - 0.01 * male, 0.06),
        crease=max(0.012, normal(0.034 - 0.008 * male, 0.010)),
        crease_depth=float(np.clip(normal(0.6, 0.3), 0.1, 1.0)),
        socket=normal(0.120 + 0.03 * elder - 0.035 * child, 0.018),
        iris_radius=normal(0.0655, 0.0018),
        iris_colour=_colour(iris),
        nose_length=normal(0.425 - 0.075 * child + 0.02 * elder + 0.008 * male, 0.028),
        nose_half_width=normal(0.148 + 0.010 * male - 0.012 * child + 0.012 * elder + 0.004 * max(tone - 6, 0), 0.018),
        nose_height=normal(0.205 + 0.015 * male - 0.055 * child, 0.026),
        nose_bridge=normal(0.62 - 0.15 * child, 0.15),
        nose_tip_up=normal(0.0 + 0.012 * child - 0.008 * elder, 0.010),
        mouth_y=normal(0.475 - 0.055 * child + 0.005 * elder, 0.020),
        mouth_half_width=normal(0.252 - 0.035 * child + 0.010 * male, 0.020),
        upper_lip=max(0.020, normal(0.048 - 0.005 * male - 0.018 * elder + 0.002 * max(tone - 5, 0), 0.010)),
        lower_lip=max(0.030, normal(0.068 - 0.004 * male - 0.022 * elder + 0.002 * max(tone - 5, 0), 0.011)),
        cupid=float(np.clip(normal(0.5, 0.25), 0, 1)),
        mouth_corner=normal(0.004 + 0.016 * elder, 0.010),
        brow_gap=normal(0.168 - 0.022 * male + 0.004 * child + 0.004 * elder, 0.015),
        brow_thickness=max(0.011, normal(0.026 + 0.007 * male - 0.006 * child, 0.0085)),
        brow_length=normal(0.225, 0.014),
        brow_arch=normal(0.022 - 0.012 * male, 0.015),
        brow_slope=normal(0.04 - 0.03 * male, 0.09),
        brow_density=float(np.clip(normal(0.82 - 0.12 * child - 0.10 * elder, 0.12), 0.3, 1.0)),
        chin_boss=normal(0.085 + 0.015 * male - 0.01 * child, 0.014),
        chin_cleft=max(0.0, normal(-0.1, 0.5)) if is_male else 0.0,
        ear_size=normal(0.19 + 0.01 * male + 0.02 * elder, 0.015),
        skin_colour=_colour(skin),
        lip_colour=_colour(lips),
        hair_colour=_colour(hair),
        brow_colour=_colour(brow_hair),
        grey=grey,
        hair_style=style,
        hairline_y=normal(-0.79 - (0.03 * elder if is_male else 0.0) + 0.01 * child, 0.035),
        temple_recession=max(0.0, normal(0.45 * elder, 0.2)) if is_male else 0.0,
        hair_volume=uniform(0.05, 0.16),
        hair_wave=uniform(0, 1),
        parting=uniform(-0.35, 0.35),
        beard=beard,
        moustache=moustache,
        stubble=stubble,
        freckles=float(np.clip(normal(0.0, 0.4), 0, 0.7)) * (1 - 0.5 * min(1.0, elder)) if tone <= 4 else 0.0,
        wrinkles=float(np.clip(elder * normal(1.0, 0.18), 0, 1.25)),
        asymmetry=(normal(0, 0.006), normal(0, 0.006), normal(0, 0.008)),
    )


def _colour(rgb: Array) -> Colour:
    red, green, blue = (float(v) for v in np.clip(rgb, 0.004, 0.95))
    return red, green, blue


def lid_profile(t: Array | np.floating, upper: bool) -> Array:
    """Height (0..1) of a lid's margin over the line of the canthi at t in [-1 nasal, 1 temporal]."""
    inside = np.clip(1 - t * t, 0, 1)
    if upper:
        return inside ** np.float32(0.62) * (1 - np.float32(0.13) * t)
    return inside ** np.float32(0.78) * (1 + np.float32(0.16) * t)


def eye_to_face(subject: Subject, index: int, u: Array | np.floating, v: Array | np.floating) -> tuple[Array, Array]:
    """From an eye's own axes (u towards the temple, v down, along the canthal line) to face coordinates."""
    side = -1.0 if index == 0 else 1.0
    c, s = np.cos(subject.canthal_tilt), np.sin(subject.canthal_tilt)
    x, y = eye_centre(subject, index)
    return x + side * (u * c + v * s), y - u * s + v * c


def face_to_eye(subject: Subject, index: int, x: Array, y: Array) -> tuple[Array, Array]:
    """Inverse of :func:`eye_to_face`."""
    side = -1.0 if index == 0 else 1.0
    c, s = np.float32(np.cos(subject.canthal_tilt)), np.float32(np.sin(subject.canthal_tilt))
    cx, cy = eye_centre(subject, index)
    du, dv = (x - np.float32(cx)) * np.float32(side), y - np.float32(cy)
    return du * c - dv * s, du * s + dv * c


def eye_centre(subject: Subject, index: int) -> tuple[float, float]:
    """Middle of the line between the canthi of eye 0 (subject's right, x < 0) or 1."""
    side = -1.0 if index == 0 else 1.0
    return side * subject.eye_x, subject.eye_y + side * subject.asymmetry[0]


def brow_centre(subject: Subject, index: int) -> tuple[float, float]:
    """Middle of a healthy brow."""
    side = -1.0 if index == 0 else 1.0
    return side * (subject.eye_x + 0.015), subject.eye_y - subject.brow_gap + side * subject.asymmetry[1]


def anchors(subject: Subject) -> Anchors:
    """Where things are on the subject's healthy frontal face; see :class:`Anchors` for units."""

    def upper(index: int, t: Array) -> tuple[Array, Array]:
        t = np.asarray(t, dtype=np.float32)
        return eye_to_face(subject, index, t * subject.eye_half_width, -subject.upper_height * lid_profile(t, True))

    def lower(index: int, t: Array) -> tuple[Array, Array]:
        t = np.asarray(t, dtype=np.float32)
        return eye_to_face(subject, index, t * subject.eye_half_width, subject.lower_height * lid_profile(t, False))

    def pair(x: float, y: float) -> Array:
        return np.array([[-x, y], [x, y]], dtype=np.float32)

    def point(x: float, y: float) -> Array:
        return np.array([x, y], dtype=np.float32)

    nose_y = subject.eye_y + subject.nose_length
    return Anchors(
        eye_centre=np.array([eye_centre(subject, 0), eye_centre(subject, 1)], dtype=np.float32),
        eye_half_width=subject.eye_half_width,
        eye_half_height=(subject.upper_height + subject.lower_height) / 2,
        upper_lid=upper,
        lower_lid=lower,
        nose_tip=point(0, nose_y - 0.03),
        mouth_centre=point(0, subject.mouth_y),
        chin=point(0, subject.chin_y - 0.1),
        forehead=point(0, (subject.hairline_y + subject.eye_y - subject.brow_gap) / 2),
        glabella=point(0, subject.eye_y - 0.11),
        cheek=pair(0.40, (subject.eye_y + subject.mouth_y) / 2 + 0.03),
        brow=np.array([brow_centre(subject, 0), brow_centre(subject, 1)], dtype=np.float32),
        nasolabial=pair(
            (subject.nose_half_width + subject.mouth_half_width) / 2 + 0.06, (nose_y + subject.mouth_y) / 2
        ),
        temple=pair(0.80 * subject.face_half_width, subject.eye_y - 0.12),
        hairline_y=subject.hairline_y,
        face_half_width=subject.face_half_width,
    )
