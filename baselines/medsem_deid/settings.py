"""What there is to set: the encoder of medical semantics, the networks, the losses and their training.

The defaults are the paper's (MeMa, §4 and Implementation Details); what it leaves open is marked «ours».
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mema.config import Config
from mema.diffusion.settings import TrainingSettings


class EncoderSettings(Config):
    """Enc_med, the frozen encoder of medical semantics (Table 10 compares the three kinds).

    ``kind`` "diffusion": ``weights`` is a Stable-Diffusion-format checkpoint and ``tuned`` the LoRA or UNet that was
    trained on the release's training split; the photo's latents, spoilt as at time step ``noise_step`` of the schedule
    by a noise that is always the same, go through the first ``blocks`` down blocks of the UNet under ``prompt`` (ours:
    step 50 of 1,000 and no words, since labels are never passed in). "vit" and "mae": ``weights`` is a folder that
    transformers loads as a ViT or a ViTMAE, and ``blocks`` of its layers are run.

    Weights are names of ``weights/weights.yaml`` or folders.
    """

    kind: Literal["diffusion", "vit", "mae"] = "diffusion"
    weights: str = "sd-v1-5"
    tuned: str | None = "runs/mema/medsem/encoder"
    blocks: int = Field(default=1, ge=1)
    noise_step: int = Field(default=50, ge=0, lt=1000)
    prompt: str = ""

    @model_validator(mode="after")
    def _only_a_unet_is_tuned(self) -> EncoderSettings:
        if self.kind != "diffusion" and self.tuned is not None:
            raise ValueError(f"a {self.kind} encoder has no 'tuned': put the trained folder under 'weights'")
        return self


class NetworkSettings(Config):
    """The de-identifier's own networks.

    ``size`` is the side in pixels that it works at; photos of another are resized there and back. The image encoder
    folds ``patch`` x ``patch`` pixels into channels and halves the sides between ``widths``: the defaults give f_face
    in R^512 at H/32. ID-Encryptor and ID-Decryptor have ``layers`` Transformer layers each, and the password enters as
    ``password_tokens`` tokens (the paper: one); with ``password_added`` (ours) the first is also added to every place,
    which short trainings learn to use sooner. ``medical`` says whether f_med enters the features (Table 9).
    With ``latents`` (ours), a checkpoint in Stable Diffusion's format, its VAE is the outer part of image encoder and
    decoder, a token stands for ``patch`` pixels, and P gives its signs to ``password_code`` principal components.
    Widths of the inner layers, ``layers`` and ``heads`` are ours: the paper keeps them for its supplement.
    """

    size: int = Field(default=512, ge=32, le=2048)
    patch: int = Field(default=1, ge=1, le=32)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    layers: int = Field(default=6, ge=1)
    heads: int = Field(default=8, ge=1)
    password_tokens: int = Field(default=1, ge=1)
    password_added: bool = False
    latents: str | None = None
    password_code: int = Field(default=0, ge=0, le=512)
    medical: bool = True
    discriminator: tuple[int, ...] = (64, 128, 256)

    @property
    def stride(self) -> int:
        """Side in pixels of what one token stands for."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @model_validator(mode="after")
    def _fits(self) -> NetworkSettings:
        if not self.widths or not self.discriminator:
            raise ValueError("widths and discriminator must name at least one width each")
        if any(width < 1 or width % 8 for width in (*self.widths, *self.discriminator)):
            raise ValueError("widths must be multiples of 8")
        if (self.latents is None) == bool(self.password_code):
            raise ValueError("latents and password_code go together")
        if self.latents is not None and len(self.widths) > 1:
            raise ValueError("beside latents there is one width, the Transformers'")
        if self.size % self.stride:
            raise ValueError(f"a size of {self.size} is no multiple of {self.stride} pixels, which a token stands for")
        if self.widths[-1] % self.heads:
            raise ValueError(f"{self.heads} heads cannot share a width of {self.widths[-1]}")
        return self


class LossSettings(Config):
    """Weights of the six losses, and of what is ours.

    ``identity`` is the recogniser phi that training is against: "phantom-arcface", or "arcface" for the IResNet of
    ``weights/weights.yaml``. ``floor`` is the cosine below which an identity counts as gone: -1 is the paper's, which
    asks for the opposite face; 0 asks for an unrelated one. ``jitter`` shifts, lights and spoils what phi sees, so that
    it is not led astray by patterns that nobody sees (the paper: no). ``medical`` 0 is the ablation without L_med.
    """

    identity: str = "arcface"
    floor: float = Field(default=-1.0, ge=-1, le=1)
    jitter: bool = False
    deidentify: float = Field(default=1.0, ge=0)
    recover_identity: float = Field(default=1.0, ge=0)
    wrong: float = Field(default=1.0, ge=0)
    medical: float = Field(default=5.0, ge=0)
    recover: float = Field(default=0.1, ge=0)
    adversarial: float = Field(default=1.0, ge=0)


class ScheduleSettings(Config):
    """How training runs: Adam with betas (0.5, 0.99), the rate halved after ``halve_after`` of ``steps`` iterations.

    ``data`` says what is trained on: the training split of a release, donors alone (Table 9, M1) or both. Of the wrong
    passwords a share of ``near`` has some places of the right one's vector turned (a tenth to a half, drawn evenly),
    the others are passwords one bit away. ``precision`` "bf16" also runs on a CPU. Every ``save_every`` iterations the
    state is saved, with the weights so far, a row of losses and a sheet of pictures.
    """

    data: Literal["release", "donors", "both"] = "release"
    steps: int = Field(default=300_000, ge=1)
    halve_after: int = Field(default=150_000, ge=1)
    rate: float = Field(default=2e-4, gt=0)
    batch: int = Field(default=16, ge=1)
    flip: bool = True
    near: float = Field(default=0.5, ge=0, le=1)
    precision: Literal["no", "bf16"] = "no"
    save_every: int = Field(default=1000, ge=1)
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Return the learning rate of ``step`` (from 0)."""
        return self.rate if step < self.halve_after else self.rate / 2


class MedSemParameters(Config):
    """A whole MedSem-DeID; ``weights`` is what training wrote: a folder or a name of ``weights/weights.yaml``.

    With ``detail`` (ours, beside ``network.latents``) what is drawn is the change of a picture and not a new one, so
    that what the generator's VAE loses of a photo, small signs of disease among it, is published and given back.
    ``encoder_training`` is how Enc_med is trained: by default as the generator (MeMa, Implementation Details). Of it a
    ViT takes the rate, batch, length, saving and seed alone.
    """

    weights: str = "runs/mema/medsem/model"
    detail: bool = False
    encoder: EncoderSettings = EncoderSettings()
    network: NetworkSettings = NetworkSettings()
    loss: LossSettings = LossSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    encoder_training: TrainingSettings = TrainingSettings(tracker="none")

    @model_validator(mode="after")
    def _detail_is_beside_latents(self) -> MedSemParameters:
        if self.detail and self.network.latents is None:
            raise ValueError("detail is what a generator's VAE loses: it needs network.latents")
        return self


# Of MedSemParameters, what no iteration of a training depends on: it may differ between a kill and the resume.
FREE: dict[str, Any] = {"weights": True, "detail": True, "schedule": {"steps", "save_every"}}
