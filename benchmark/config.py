"""The ``benchmark`` section of a build's YAML: every setting that may move a score, and the protocol's version."""

from __future__ import annotations

from pydantic import Field

from mema.config import Config
from mema.files import sha256_json
from mema.result import Protocol

# Raised by hand, with a line in the changelog, when the code of a metric changes what it measures.
PROTOCOL_REVISION = 1


class JudgeConfig(Config):
    """How the disease classifier is fine-tuned on the release's training split (MeMa, evaluation protocol).

    ``init`` names the weights whose trunk it starts from, one file per clinic; None starts from nothing.
    """

    init: str | None = "phantom-judge"
    epochs: int = Field(default=6, ge=1)


class BenchmarkConfig(Config):
    """``protocol`` names the rules; ``recognisers`` are held out: no method may train against them.

    ``far`` is the false accept rate of the verification threshold, ``examples`` how many faces the page shows.
    """

    protocol: str = "mema-core"
    methods: tuple[str, ...] = ("pass_through", "blackout", "gaussian_blur", "pixelate", "eye_bar")
    judge: JudgeConfig = JudgeConfig()
    recognisers: tuple[str, ...] = Field(default=("dlib", "phantom-sphereface"), min_length=1)
    far: float = Field(default=0.001, gt=0, lt=1)
    batch_size: int = Field(default=32, ge=1)
    bootstrap_draws: int = Field(default=1000, ge=100)
    seed: int = Field(default=0, ge=0)
    examples: int = Field(default=8, ge=0, le=16)

    def protocol_reference(self) -> Protocol:
        """Return name and version; the version ends in a hash of the settings, so two that differ never compare."""
        settings = self.model_dump(mode="json", exclude={"protocol", "methods", "batch_size", "examples"})
        return Protocol(name=self.protocol, version=f"{PROTOCOL_REVISION}.{sha256_json(settings)[:8]}")
