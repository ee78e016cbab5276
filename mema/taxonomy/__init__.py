"""Diseases, severities and prompts: the one place that says which diseases a clinic knows and how they are
worded.

One YAML file beside this module per clinic; ``load_taxonomy("eye_clinic")`` reads it. The wording of captions
and prompts is MeMa's (Section 3, Step 1 and 2): ``A face, eye with {disease}, {level}-level``.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mema.errors import UserError, nearest

FOLDER = Path(__file__).parent


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Disease(_Frozen):
    """One class of a clinic, ``normal`` included; ``description`` are the signs that a clinician looks
    for."""

    code: str
    name: str
    description: str
    lesion_mask: bool
    region: Literal["eye", "face"]


class Severity(_Frozen):
    """A named range ``[low, high)`` of the continuous severity; the last range includes 1."""

    level: Literal["slight", "mid", "heavy"]
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @property
    def midpoint(self) -> float:
        """The severity in [0, 1] that stands for this level."""
        return (self.low + self.high) / 2


class Taxonomy(_Frozen):
    """The diseases of one clinic in their fixed order (which is the order of classifier outputs)."""

    name: str
    title: str
    caption_template: str = Field(alias="caption")
    prompt_template: str = Field(alias="prompt")
    severities: tuple[Severity, ...]
    diseases: tuple[Disease, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Taxonomy:
        if len(set(self.codes)) != len(self.codes):
            raise ValueError("disease codes repeat")
        edges = [(severity.low, severity.high) for severity in self.severities]
        joined = all(before[1] == after[0] for before, after in pairwise(edges))
        if not joined or edges[0][0] != 0 or edges[-1][1] != 1:
            raise ValueError("severities do not cover [0, 1] without gaps")
        return self

    @property
    def codes(self) -> tuple[str, ...]:
        """Every disease code, in order."""
        return tuple(disease.code for disease in self.diseases)

    @property
    def levels(self) -> tuple[str, ...]:
        """Every severity level, from slight to heavy."""
        return tuple(severity.level for severity in self.severities)

    def disease(self, code: str) -> Disease:
        """Return the disease called ``code``; raises UserError, naming the nearest code, when there is
        none."""
        return self.diseases[self.index(code)]

    def index(self, code: str) -> int:
        """Return the place of ``code`` in ``diseases``; raises UserError when there is none."""
        if code not in self.codes:
            raise UserError(f"{self.name} has no disease '{code}'{nearest(code, self.codes)}")
        return self.codes.index(code)

    def severity(self, level: str) -> Severity:
        """Return the range of ``level``; raises UserError for a level that is not slight, mid or heavy."""
        for severity in self.severities:
            if severity.level == level:
                return severity
        raise UserError(f"{self.name} has no severity level '{level}'{nearest(level, self.levels)}")

    def severity_level(self, value: float) -> str:
        """Return the level of a severity in [0, 1]; raises UserError outside of it."""
        if not 0 <= value <= 1:
            raise UserError(f"severity {value} is not in [0, 1]")
        inside = [severity.level for severity in self.severities if severity.low <= value]
        return inside[-1]

    def caption(self, code: str) -> str:
        """Return the training caption of a patient's photo (MeMa, Step 1), which names no severity."""
        return self.caption_template.format(disease=self.disease(code).name)

    def prompt(self, code: str, level: str) -> str:
        """Return the sampling prompt of a virtual patient (MeMa, Step 2)."""
        disease, severity = self.disease(code), self.severity(level)
        return self.prompt_template.format(disease=disease.name, level=severity.level)


def taxonomies() -> tuple[str, ...]:
    """Return the names of all clinics, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@lru_cache
def load_taxonomy(name: str) -> Taxonomy:
    """Return the taxonomy called ``name``; raises UserError, naming the nearest one, when there is none."""
    if name not in taxonomies():
        raise UserError(f"no clinic is called '{name}'{nearest(name, taxonomies())}")
    return Taxonomy.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
