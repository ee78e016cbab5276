"""What the experiments on generation share: their section of the YAML, and what a result says of its making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from mema.build import Build
from mema.config import Config
from mema.files import git_hash, hardware


class EffectsConfig(Config):
    """``samples`` of each kind; ``judge`` reads diseases; a face leaks below the distance of false-accept rate ``far``.

    ``population`` says in the report who the patients are.
    """

    samples: int = Field(default=160, ge=1)
    judge: str = "phantom-judge/eye_clinic"
    recognisers: tuple[str, ...] = Field(
        default=("phantom-sphereface", "phantom-arcface", "phantom-cosface", "dlib"), min_length=1
    )
    far: float = Field(default=1e-4, gt=0, lt=1)
    population: str = "phantom hospital (rendered people, not patients)"
    seed: int = 0


def settings_of(build: Build, samples: int | None = None) -> EffectsConfig:
    """Return the section ``effects`` of the build, with another number of ``samples`` if one is given."""
    config = build.section("effects", EffectsConfig)
    return config if samples is None else config.model_copy(update={"samples": samples})


def head(config: EffectsConfig) -> dict[str, Any]:
    """Return what every result begins with: who was measured, on how many images of each kind, by which code."""
    return {
        "population": config.population,
        "samples": config.samples,
        "git_hash": git_hash(),
        "hardware": hardware(),
    }


def private_output(build: Build, name: str) -> Path:
    """Return where an experiment keeps samples and sheets of them, which nobody audited: they may show patients."""
    return build.private / "reproduce" / name
