"""What can be said of a donor's photo: captions in the grammar of the clinics' prompts, but about healthy traits.

MeMa's prompts read ``A face, eye with {disease}, {level}-level``. A text encoder and a UNet that have only seen donors
must yet know that grammar before they meet a disease, as SD v1-5 does from its own captions: so donors have ``eye with
squint, heavy-level`` or ``skin with wrinkles, slight-level``.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from generation.phantom.anatomy import HAIR_COLOURS, HAIR_STYLES, IRIS_COLOURS, Subject
from generation.phantom.shot import Shot
from mema.taxonomy import load_taxonomy, taxonomies

BEGINNING = "A face"
"""What every caption starts with, and the whole caption where nothing else is said."""


def phrases(subject: Subject, shot: Shot) -> list[str]:
    """Everything that is true of one photo of a healthy subject, one phrase a fact, in a fixed order."""
    found = [
        _person(subject),
        ("very light", "light", "medium", "dark", "very dark")[(subject.skin_tone - 1) // 2] + " skin",
        _hair(subject),
        f"eye with {_nearest(subject.iris_colour, IRIS_COLOURS)} iris",
    ]
    graded = (
        ("eye with squint", shot.squint / 0.3, 0.15),
        ("skin with wrinkles", subject.wrinkles / 1.25, 0.1),
        ("skin with freckles", subject.freckles, 0.15),
        ("skin with stubble", subject.stubble, 0.15),
        ("mouth with smile", shot.smile, 0.2),
        ("mouth with gap", shot.mouth_open, 0.15),
    )
    found += [f"{sign}, {degree(value)}-level" for sign, value, least in graded if value >= least]
    if subject.beard:
        found.append("beard")
    elif subject.moustache:
        found.append("moustache")
    sides = (
        ("head turned", shot.yaw, 8.0, ("left", "right")),
        ("head turned", shot.pitch, 5.0, ("down", "up")),
        ("eyes looking", shot.gaze_yaw - shot.yaw, 7.0, ("left", "right")),
        ("eyes looking", shot.gaze_pitch - shot.pitch, 4.0, ("down", "up")),
        ("light from", shot.light[0], 0.3, ("left", "right")),
    )
    found += [f"{what} {names[value > 0]}" for what, value, least, names in sides if abs(value) >= least]
    return found


def caption(subject: Subject, shot: Shot, rng: np.random.Generator, *, most: int = 5) -> str:
    """A caption of one photo: ``A face`` and up to ``most`` true phrases, drawn and ordered at random."""
    facts = phrases(subject, shot)
    count = int(rng.integers(0, min(most, len(facts)) + 1))
    return ", ".join([BEGINNING, *(facts[i] for i in rng.permutation(len(facts))[:count])])


def traits(subject: Subject) -> list[float]:
    """Everything lasting about a subject as numbers, in a fixed order: colours as logarithms, hair style one-hot."""
    numbers = [float(subject.gender == "female")]
    for field in dataclasses.fields(subject):
        value = getattr(subject, field.name)
        if field.name == "hair_style":
            numbers += [float(value == style) for style in HAIR_STYLES]
        elif field.name.endswith("_colour"):
            numbers += [float(part) for part in np.log(value)]
        elif isinstance(value, tuple):
            numbers += [float(part) for part in value]
        elif isinstance(value, int | float) and field.name != "seed":
            numbers.append(float(value))
    return numbers


def degree(value: float) -> str:
    """Word of a strength in [0, 1] (clipped): slight, mid or heavy, by the clinics' own ranges."""
    return load_taxonomy(taxonomies()[0]).severity_level(float(np.clip(value, 0, 1)))


def prompts() -> list[str]:
    """Every caption and prompt of every clinic: words that the tokenizer has to know though no donor shows them."""
    lines = []
    for name in taxonomies():
        clinic = load_taxonomy(name)
        for code in clinic.codes:
            lines.append(clinic.caption(code))
            lines += [clinic.prompt(code, level) for level in clinic.levels]
    return lines


def _person(subject: Subject) -> str:
    if subject.age < 13:
        return "girl" if subject.gender == "female" else "boy"
    noun = "woman" if subject.gender == "female" else "man"
    for limit, word in ((20, "teenage"), (35, "young"), (60, "middle-aged"), (75, "old")):
        if subject.age < limit:
            return f"{word} {noun}"
    return f"very old {noun}"


def _hair(subject: Subject) -> str:
    if subject.hair_style == "bald":
        return "bald"
    colour = "grey" if subject.grey > 0.5 else _nearest(subject.hair_colour, HAIR_COLOURS)
    return f"{colour} {subject.hair_style} hair"


def _nearest(colour: tuple[float, float, float], names: dict[str, tuple[float, float, float]]) -> str:
    return min(names, key=lambda name: float(np.square(np.log(names[name]) - np.log(colour)).sum()))
