"""Groups of people by what is known of them, the same in the audit of a release and in the benchmark."""

from __future__ import annotations

from collections.abc import Callable

from mema.records import FaceRecord

# Fewer people than this say nothing of a rate, and their number may itself say too much of them.
LEAST_PEOPLE = 10

GROUPS: dict[str, tuple[str, ...]] = {
    "gender": ("female", "male"),
    "skin tone": ("Monk 1 to 3", "Monk 4 to 7", "Monk 8 to 10"),
    "age": ("under 18", "18 to 39", "40 to 64", "from 65"),
}
"""The groups of each attribute, in their order."""


def gender_group(record: FaceRecord) -> str | None:
    """Return the gender, None where it is not stated."""
    return record.gender


def tone_group(record: FaceRecord) -> str | None:
    """Return the third of the Monk scale in which the skin tone lies, None where it is not stated."""
    tone = record.skin_tone
    if tone is None:
        return None
    return GROUPS["skin tone"][0 if tone <= 3 else 1 if tone <= 7 else 2]


def age_group(record: FaceRecord) -> str | None:
    """Return the age group, None where the age is not stated."""
    age = record.age
    if age is None:
        return None
    return GROUPS["age"][0 if age < 18 else 1 if age < 40 else 2 if age < 65 else 3]


ATTRIBUTES: dict[str, Callable[[FaceRecord], str | None]] = {
    "gender": gender_group,
    "skin tone": tone_group,
    "age": age_group,
}
"""What gives a record's group by each attribute of ``GROUPS``."""
