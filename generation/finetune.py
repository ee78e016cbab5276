"""Fine-tune a Stable Diffusion checkpoint on the cohort, by LoRA or in full (MeMa, Section 3, Step 1).

``mema generate finetune --config configs/demo.yaml``; on several GPUs ``accelerate launch -m mema.cli generate
finetune --config …``. Each photo is paired with the caption ``A face, eye with {disease}``; the frozen VAE and text
encoder run once. ``tensorboard --logdir <private>/finetune/tracker`` shows how it goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import model_validator

from mema.build import Build
from mema.diffusion.acceleration import local_device
from mema.diffusion.batches import hold_out
from mema.diffusion.checkpoint import (
    LORA_FILE,
    UNET_FOLDER,
    Generator,
    encode_faces,
    encode_latents,
    encode_prompts,
    load_pipeline,
)
from mema.diffusion.settings import TrainingSettings
from mema.diffusion.state import Curves
from mema.diffusion.training import Photos, train
from mema.errors import UserError
from mema.files import read_json, sha256_json, write_json
from mema.imageset import ImageSet
from mema.taxonomy import load_taxonomy
from mema.weights import digest, find_weights

REPORT = "finetune.json"
DONE = "done.json"
# Settings that decide what is seen of a training, not what comes of it: they may change between kill and resume.
WATCHING = {"tracker", "sample_every", "save_every"}


class FinetuneConfig(TrainingSettings):
    """How to train, the ``checkpoint`` to train and fine-tuned weights to go on from; names of weights or paths.

    ``adapter`` and ``adapter_file`` (see ``Generator``) say through which IP-Adapter faces are seen, where
    ``face_share`` is above 0. ``init`` for a LoRA is one of the same rank and targets; for a full fine-tuning it is
    either kind.
    """

    checkpoint: str = "sd-v1-5"
    init: str | None = None
    adapter: str | None = None
    adapter_file: str | None = None

    @model_validator(mode="after")
    def _faces_need_an_adapter(self) -> FinetuneConfig:
        if (self.face_share > 0) != (self.adapter is not None):
            raise ValueError("face_share and adapter belong together: set both or neither")
        return self


def finetune(build: Build) -> Path:
    """Train on ``Build.cohort`` alone, write ``Build.lora`` and return it; done already, it is left as it is.

    The folder holds the LoRA or, for method "full", ``unet/``. The resumable state, fingerprinted by the cohort, and
    the tracker's records, which show what the model draws, lie on the private side. UserError if a control patient is
    in the cohort or a photo has no disease.
    """
    from accelerate import PartialState

    config = build.section("finetune", FinetuneConfig)
    cohort = ImageSet.open(build.cohort)
    check_controls(cohort, ImageSet.open(build.controls))
    init = None if config.init is None else find_weights(config.init)
    private = build.private / "finetune"
    fingerprint = sha256_json(
        {
            "cohort": cohort.digest,
            "checkpoint": digest(find_weights(config.checkpoint)),
            "init": None if init is None else digest(init),
            "adapter": None if config.adapter is None else digest(find_weights(config.adapter)),
            "settings": config.model_dump(mode="json", exclude=WATCHING),
        }
    )
    done = read_json(private / DONE) if (private / DONE).is_file() else None
    if done == {"fingerprint": fingerprint, "weights": _weights_digest(build.lora)}:
        return build.lora

    whole = config.method == "full"
    generator = Generator(config.checkpoint, init if whole else None, config.adapter, config.adapter_file)
    pipe = load_pipeline(generator, device=local_device())
    photos, prompts = _encode(build, pipe, cohort, config)
    curves = train(
        pipe,
        photos,
        config,
        output=build.lora,
        private=private,
        fingerprint=fingerprint,
        init=None if whole else init,
        prompts=prompts,
    )
    if PartialState().is_main_process:
        write_json(build.lora / REPORT, _report(config, photos, curves))
        write_json(private / DONE, {"fingerprint": fingerprint, "weights": _weights_digest(build.lora)})
    return build.lora


def check_controls(cohort: ImageSet, controls: ImageSet) -> None:
    """Raise UserError if a control patient, whom no model may train on, is in the cohort."""
    both = {r.subject_id for r in cohort.records()} & {r.subject_id for r in controls.records()}
    if both:
        raise UserError(f"finetune: {len(both)} control patients are in the cohort; run 'mema generate cohort' again")


def _encode(build: Build, pipe: Any, cohort: ImageSet, config: FinetuneConfig) -> tuple[Photos, list[str]]:
    """Return the cohort as the frozen networks see it, and the captions of the diseases that occur."""
    import torch

    records, images = cohort.records(), cohort.images()
    taxonomy = load_taxonomy(build.clinic)
    prompts = ["", *(taxonomy.caption(code) for code in taxonomy.codes)]
    encoded = encode_prompts(pipe, prompts)
    captions = [1 + taxonomy.index(record.disease or "") for record in records]
    views = [images, images[:, :, ::-1]] if config.flip else [images]
    photos = Photos(
        torch.stack([encode_latents(pipe, view) for view in views], dim=1),
        captions,
        torch.stack([encoded[prompt].cpu() for prompt in prompts]),
        np.unique([record.subject_id for record in records], return_inverse=True)[1].tolist(),
        encode_faces(pipe, images) if config.adapter else None,
    )
    return photos, [prompts[caption] for caption in sorted(set(captions))]


def _report(config: FinetuneConfig, photos: Photos, curves: Curves) -> dict[str, Any]:
    """Return what the output says of its making; ``loss`` is averaged over up to 20 equal parts of the steps."""
    trained, held = hold_out(photos.subjects, photos.captions, config.held_out, config.seed)
    whose = np.asarray(photos.subjects)
    return {
        "settings": config.model_dump(mode="json"),
        "photos": len(trained),
        "patients": len(np.unique(whose[trained])),
        "steps": len(curves.losses),
        "loss": [round(float(np.mean(part)), 5) for part in np.array_split(curves.losses, min(20, len(curves.losses)))],
        "held_out": {
            "photos": len(held),
            "patients": len(np.unique(whose[held])),
            "loss": {str(step): round(loss, 5) for step, loss in curves.held_out.items()},
        },
    }


def _weights_digest(folder: Path) -> str | None:
    weights = folder / UNET_FOLDER if (folder / UNET_FOLDER).is_dir() else folder / LORA_FILE
    return digest(weights) if weights.exists() else None
