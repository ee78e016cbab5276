"""Build: one YAML in ``configs/`` and the places where the stages of that dataset build read and write.

Private places hold patients (photos, the cohort, the audit's nearest-patient table) and are never versioned or
published; everything below ``runs``, ``data`` and ``answers`` is public.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from mema.config import Config, read_yaml, validate
from mema.errors import UserError, nearest
from mema.registry import resolve

# Which model validates which section; references, so that the ground floor imports no stage.
SECTIONS = {
    "hospital": "generation.phantom.hospital:HospitalConfig",
    "cohort": "generation.cohort:CohortConfig",
    "donors": "generation.donors:DonorsConfig",
    "finetune": "generation.finetune:FinetuneConfig",
    "plan": "generation.plan:PlanConfig",
    "sample": "generation.sample:SampleConfig",
    "effects": "generation.effects:EffectsConfig",
    "audit": "curation.audit:AuditConfig",
    "filter": "curation.filter:FilterConfig",
    "annotate": "curation.annotate:AnnotateConfig",
    "label_studio": "curation.labelstudio.config:LabelStudioConfig",
    "release": "curation.release:ReleaseConfig",
    "benchmark": "benchmark.config:BenchmarkConfig",
}

Model = TypeVar("Model", bound=BaseModel)


class _Paths(Config):
    private: Path
    runs: Path
    data: Path = Path("data")
    answers: Path = Path("answers")


class _Head(Config):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    clinic: str
    size: int = Field(default=512, ge=32, le=2048, multiple_of=8)
    seed: int = 0
    paths: _Paths


class Build:
    """One dataset build: ``name``, ``clinic`` (a taxonomy), image ``size`` in pixels, ``seed``, sections, paths.

    ``answers`` holds what physicians said, in the form of ``annotations``: a source, which no stage writes.
    """

    def __init__(self, path: Path, head: _Head, sections: dict[str, Any]) -> None:
        self.config_path = path
        self.name = head.name
        self.clinic = head.clinic
        self.size = head.size
        self.seed = head.seed
        self._sections = sections
        # MEMA_PRIVATE moves what is private to another disk without touching the versioned YAML.
        self.private = Path(os.environ.get("MEMA_PRIVATE", ".")) / head.paths.private
        self.runs = head.paths.runs
        self.data = head.paths.data
        self.answers = head.paths.answers / head.name

    @classmethod
    def load(cls, path: Path | str) -> Build:
        """Read a build's YAML; an unknown key raises UserError that names the nearest one."""
        values = read_yaml(path)
        for key in values:
            if key not in _Head.model_fields and key not in SECTIONS:
                known = [*_Head.model_fields, *SECTIONS]
                raise UserError(f"{path}: unknown key '{key}'{nearest(str(key), known)}")
        head = {key: value for key, value in values.items() if key not in SECTIONS}
        sections = {key: value or {} for key, value in values.items() if key in SECTIONS}
        return cls(Path(path), validate(_Head, head, str(path)), sections)

    def section(self, name: str, model: type[Model]) -> Model:
        """Return the section ``name`` as ``model``, with its defaults when the YAML leaves it out."""
        return validate(model, self._sections.get(name, {}), f"{self.config_path}: {name}")

    def check(self) -> None:
        """Validate every section of the file; imports the stages, so it is for ``mema config check``."""
        for name in self._sections:
            self.section(name, resolve(SECTIONS[name]))

    @property
    def hospital(self) -> Path:
        """Private: the photos, masks and ``patients.csv`` that a hospital hands over."""
        return self.private / "hospital"

    @property
    def cohort(self) -> Path:
        """Private ImageSet: patients that a model may train on."""
        return self.private / "cohort"

    @property
    def controls(self) -> Path:
        """Private ImageSet: patients that no model may train on."""
        return self.private / "controls"

    @property
    def private_audit(self) -> Path:
        """Private: which patient is nearest to which candidate."""
        return self.private / "audit"

    @property
    def donor_photos(self) -> Path:
        """Public faces as they come: photos and ``donors.csv``."""
        return self.runs / "donor-photos"

    @property
    def donors(self) -> Path:
        """ImageSet of public faces with age and gender."""
        return self.runs / "donors"

    @property
    def donor_attributes(self) -> Path:
        """Estimates of ages and genders that the donors' table leaves out, and their report."""
        return self.runs / "donor-attributes"

    @property
    def lora(self) -> Path:
        """The fine-tuned weights, a folder that plain diffusers loads."""
        return self.runs / "lora"

    @property
    def plan(self) -> Path:
        """The table of images to make, CSV; its report lies beside it."""
        return self.runs / "plan" / "plan.csv"

    @property
    def candidates(self) -> Path:
        """ImageSet of sampled virtual patients."""
        return self.runs / "candidates"

    @property
    def audit(self) -> Path:
        """Public part of the audit: rates, thresholds, intervals, flags."""
        return self.runs / "audit"

    @property
    def filtered(self) -> Path:
        """``kept/`` and ``rejected/`` ImageSets and ``reasons.csv``."""
        return self.runs / "filtered"

    @property
    def annotations(self) -> Path:
        """``annotations.csv``, the oracle's or taken from ``answers``: one row per image and annotator."""
        return self.runs / "annotations"

    @property
    def proposals(self) -> Path:
        """First outlines of tumours, one PNG per kept image, for annotators to correct."""
        return self.runs / "proposals"

    @property
    def label_studio(self) -> Path:
        """What was pushed to Label Studio, and its answers as they were fetched."""
        return self.runs / "label-studio"

    @property
    def release(self) -> Path:
        """The release as built; ``published`` is where its copy is versioned."""
        return self.runs / "release"

    @property
    def benchmark(self) -> Path:
        """One folder per method, and the judge."""
        return self.runs / "benchmark"

    @property
    def leaderboard(self) -> Path:
        """The rendered page."""
        return self.runs / "leaderboard"

    @property
    def reproduce(self) -> Path:
        """The paper's tables beside ours: a JSON for each, and what was trained for them."""
        return self.runs / "reproduce"

    @property
    def effects(self) -> Path:
        """The generation experiment: JSON and contact sheet."""
        return self.runs / "effects"
