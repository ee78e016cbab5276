"""Read what a Label Studio server hands over: answers to our tasks, from accounts that may have sent anything.

Nothing in an answer is believed: sizes are checked before memory is taken, choices must be ours, text stays text. What
cannot be read is a :class:`Problem` with one line, never a lost answer: the export it came in is kept.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from curation.labelstudio.config import (
    ACCEPT,
    DECISION,
    DISEASE,
    MASK,
    NOTES,
    REASON,
    REASONS,
    REJECT,
    SEVERITY,
    TUMOR,
)
from curation.labelstudio.rle import decode
from curation.labelstudio.rounds import Round
from mema.annotations import Annotation
from mema.taxonomy import Taxonomy

MAX_REGIONS = 1_000
MAX_NOTES = 4_000
MARKUP = "notes hold markup; they are kept as plain text"


class Problem(ValueError):
    """One line on what is wrong with an answer."""


class Answer(NamedTuple):
    """A readable answer; ``mask`` is bool (H, W) or None, ``remark`` is what a builder should know of it."""

    annotation: Annotation
    mask: np.ndarray | None
    notes: str
    remark: str


def answers_of(task: Any) -> list[dict[str, Any]]:
    """Return a task's submitted answers, oldest first, without the skipped ones; Problem when it is not a task."""
    given = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(given, list) or not all(isinstance(one, dict) and type(one.get("id")) is int for one in given):
        raise Problem("not a task with a list of annotations")
    return sorted((one for one in given if not one.get("was_cancelled")), key=lambda one: one["id"])


def read_answer(given: dict[str, Any], image_id: str, annotator: str, plan: Round, taxonomy: Taxonomy) -> Answer:
    """Return what ``annotator`` says of ``image_id``; Problem says what cannot be read.

    All brush regions of the tumour are one mask. A rejected image keeps its reason and no mask.
    """
    regions = given.get("result")
    if not isinstance(regions, list) or len(regions) > MAX_REGIONS:
        raise Problem(f"result: not a list of at most {MAX_REGIONS} regions")
    if not all(isinstance(region, dict) and isinstance(region.get("value"), dict) for region in regions):
        raise Problem("result: a region has no value")
    decision = _choice(regions, DECISION, (ACCEPT, REJECT))
    if decision is None:
        raise Problem(f"{DECISION}: neither accepted nor rejected")
    accept = decision == ACCEPT
    disease = _choice(regions, DISEASE, taxonomy.codes) if accept else None
    if accept and disease is None:
        raise Problem(f"{DISEASE}: accepted without a disease")
    severity = _choice(regions, SEVERITY, taxonomy.levels) if accept else None
    reason = "" if accept else _choice(regions, REASON, tuple(REASONS)) or ""
    notes = _notes(regions)
    mask = _mask(regions, plan) if accept else None
    values = {
        "image_id": image_id,
        "annotator": annotator,
        "accept": accept,
        "disease": disease,
        "severity": severity,
        "reason": reason,
        "lead_time_s": _seconds(given.get("lead_time")),
        "round": plan.number,
    }
    annotation = Annotation.model_validate(values)
    return Answer(annotation, mask, notes, MARKUP if "<" in notes and ">" in notes else "")


def _of(regions: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [region for region in regions if region.get("from_name") == name]


def _choice(regions: list[dict[str, Any]], name: str, known: tuple[str, ...]) -> str | None:
    chosen = [region["value"].get("choices") for region in _of(regions, name)]
    if not chosen or chosen == [[]]:
        return None
    if len(chosen) > 1 or not isinstance(chosen[0], list) or len(chosen[0]) > 1:
        raise Problem(f"{name}: not one answer")
    if not isinstance(chosen[0][0], str) or chosen[0][0] not in known:
        raise Problem(f"{name}: {_shown(chosen[0][0])} is not one of {', '.join(known)}")
    return chosen[0][0]


def _notes(regions: list[dict[str, Any]]) -> str:
    texts: list[str] = []
    for region in _of(regions, NOTES):
        text = region["value"].get("text")
        lines = [text] if isinstance(text, str) else text
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise Problem(f"{NOTES}: not text")
        texts += lines
    notes = "\n".join(texts)
    if len(notes) > MAX_NOTES:
        raise Problem(f"{NOTES}: longer than {MAX_NOTES} characters")
    return "".join(letter for letter in notes if letter in "\n\t" or letter.isprintable())


def _mask(regions: list[dict[str, Any]], plan: Round) -> np.ndarray | None:
    union = np.zeros((plan.height, plan.width), bool)
    for region in _of(regions, MASK):
        value = region["value"]
        if (region.get("original_width"), region.get("original_height")) != (plan.width, plan.height):
            raise Problem(f"{MASK}: painted on an image that is not {plan.width} x {plan.height}")
        if value.get("format") != "rle" or value.get("brushlabels") != [TUMOR]:
            raise Problem(f"{MASK}: not a region painted as {TUMOR}")
        try:
            union |= decode(value.get("rle"), plan.height, plan.width)
        except ValueError as error:
            raise Problem(f"{MASK}: {error}") from None
    return union if union.any() else None


def _seconds(value: Any) -> float | None:
    """How long it took, as the browser says: taken when it is a time, else unknown."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return round(float(value), 3)
    return None


def _shown(value: Any) -> str:
    """At most 40 printable characters of what came, for a message."""
    return repr("".join(letter for letter in str(value)[:40] if letter.isprintable()))
