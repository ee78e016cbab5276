"""The ``benchmark`` section of a build's YAML: every setting that may move a score, and the protocol's version."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mema.config import Config
from mema.files import sha256_json
from mema.result import Protocol

# Raised by hand, with a line in the changelog, when the code of a metric changes what it measures.
PROTOCOL_REVISION = 2


class JudgeConfig(Config):
    """How the disease classifiers are fine-tuned on the release's training split (MeMa, evaluation protocol).

    ``encoder`` is the small network or, as in the paper, DINOv2. ``init`` names the weights whose trunk they start
    from: of the small one a file per clinic (``phantom-judge``, or None to start from nothing), of DINOv2 a folder
    (``dinov2-base``). ``judges`` of them differ in their seed alone, so that their spread is known.
    """

    encoder: Literal["small", "dinov2"] = "small"
    init: str | None = "phantom-judge"
    epochs: int = Field(default=6, ge=1)
    judges: int = Field(default=3, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _default_of_encoder(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("encoder") == "dinov2":
            return {"init": "dinov2-base", **values}
        return values

    def initial_weights(self, clinic: str) -> str | None:
        """Return the name of the weights that judges of a release of ``clinic`` start from."""
        return f"{self.init}/{clinic}" if self.init and self.encoder == "small" else self.init


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


class GazeConfig(Config):
    """``estimator`` is a name of ``mema.faces.gaze.GAZE_ESTIMATORS``; ``phantom`` reads rendered people alone."""

    estimator: str = "phantom"


class QualityConfig(Config):
    """What the tracks ``quality`` and ``recovery`` look at images with.

    ``perceptual`` are the networks of perceptual distances: ``alex``, ``vgg`` and ``squeeze`` (LPIPS), or weights of a
    DiseaseClassifier; ``encoders`` those of distances between sets: ``inception`` (FID, KID), or weights as
    ``mema.encoders`` takes them. ``phantom-judge`` is the shipped classifier of the release's clinic.
    """

    perceptual: tuple[str, ...] = ("phantom-judge",)
    encoders: tuple[str, ...] = ("phantom-judge",)


class SegmentationConfig(Config):
    """nnU-Net on lesions (MeMa, Table 3): of which ``diseases``, and how long it learns.

    ``epochs`` of ``iterations`` batches are nnU-Net's own and want a GPU; ``repeats`` networks differ in their seed.
    """

    diseases: tuple[str, ...] = Field(default=("bcc",), min_length=1)
    epochs: int = Field(default=1000, ge=1)
    iterations: int = Field(default=250, ge=1)
    repeats: int = Field(default=2, ge=1)


class AgreementConfig(Config):
    """Who reads images again (MeMa, Table 4): physicians, whose answers lie in the folder ``study``, or ``readers``
    machines. A method may cost ``margin`` of kappa and still be non-inferior."""

    study: Path | None = None
    readers: int = Field(default=3, ge=1)
    margin: float = Field(default=0.1, gt=0, lt=1)


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
    quality: QualityConfig = QualityConfig()
    gaze: GazeConfig = GazeConfig()
    agreement: AgreementConfig = AgreementConfig()
    segmentation: SegmentationConfig = SegmentationConfig()
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
