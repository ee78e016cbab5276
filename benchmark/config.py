"""The ``benchmark`` section of a build's YAML: every setting that may move a score, and the protocol's version."""

from __future__ import annotations

from pydantic import Field

from mema.config import Config
from mema.files import sha256_json
from mema.result import Protocol

# Raised by hand, with a line in the changelog, when the code of a metric changes what it measures.
PROTOCOL_REVISION = 2


class JudgeConfig(Config):
    """How the disease classifiers are fine-tuned on the release's training split (MeMa, evaluation protocol).

    ``init`` names the weights whose trunk they start from, one file per clinic; None starts from nothing. ``judges``
    of them differ in their seed alone, so that their spread is known.
    """

    init: str | None = "phantom-judge"
    epochs: int = Field(default=6, ge=1)
    judges: int = Field(default=3, ge=1)


class LadderConfig(Config):
    """The attackers that adapt to a method (``benchmark.attacks``).

    ``attackers`` are names of ``benchmark.attacks.protocol.ATTACKERS``; ``recogniser`` the weights they start from,
    which no held-out recogniser has; ``pairs`` how many photos of their own people they have de-identified;
    ``reconstruction_epochs`` and ``epochs`` how long the attackers ``reconstruction`` and ``retrained`` learn;
    ``certificate`` the share of a planted weak method's images that an attacker must trace for its column to count.
    """

    attackers: tuple[str, ...] = ("parrot", "reconstruction", "kept-region", "keys")
    recogniser: str = "phantom-recognisers/cosface"
    pairs: int = Field(default=400, ge=8)
    epochs: int = Field(default=6, ge=1)
    reconstruction_epochs: int = Field(default=12, ge=1)
    certificate: float = Field(default=0.5, gt=0, le=1)


class BenchmarkConfig(Config):
    """``protocol`` names the rules; ``recognisers`` are held out: no method may train against them.

    ``tracks`` are names of ``benchmark.tracks.protocol.TRACKS``, measured beside what every result has.
    ``far`` and ``strict_far`` are the false accept rates of the verification thresholds, ``examples`` how many faces
    the page shows, ``time_limit`` how many seconds a method has for each batch.
    """

    protocol: str = "mema-core"
    methods: tuple[str, ...] = ("pass_through", "blackout", "gaussian_blur", "pixelate", "eye_bar")
    judge: JudgeConfig = JudgeConfig()
    recognisers: tuple[str, ...] = Field(default=("dlib", "phantom-sphereface"), min_length=1)
    ladder: LadderConfig = LadderConfig()
    tracks: tuple[str, ...] = ()
    far: float = Field(default=0.001, gt=0, lt=1)
    strict_far: float = Field(default=0.0001, gt=0, lt=1)
    batch_size: int = Field(default=32, ge=1)
    bootstrap_draws: int = Field(default=1000, ge=100)
    seed: int = Field(default=0, ge=0)
    examples: int = Field(default=8, ge=0, le=16)
    time_limit: float = Field(default=600, gt=0)

    def protocol_reference(self) -> Protocol:
        """Return name and version; the version ends in a hash of the settings, so two that differ never compare."""
        settings = self.model_dump(mode="json", exclude={"protocol", "methods", "batch_size", "examples", "time_limit"})
        return Protocol(name=self.protocol, version=f"{PROTOCOL_REVISION}.{sha256_json(settings)[:8]}")
