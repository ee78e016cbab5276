"""Fine-tune a Stable Diffusion checkpoint on the cohort with LoRA (MeMa, Section 3, Step 1).

``mema generate finetune --config configs/demo.yaml``; on several GPUs ``accelerate launch -m mema.cli generate
finetune --config …``. Each photo is paired with the caption ``A face, eye with {disease}``; the frozen VAE and text
encoder run once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mema.build import Build
from mema.diffusion.checkpoint import LORA_FILE, Generator, encode_latents, encode_prompts, find_weights, load_pipeline
from mema.diffusion.lora import LoraSettings, train_lora
from mema.errors import UserError
from mema.files import read_json, sha256_json, write_json
from mema.imageset import ImageSet
from mema.taxonomy import load_taxonomy
from mema.weights import digest

REPORT = "finetune.json"
DONE = "done.json"


class FinetuneConfig(LoraSettings):
    """The settings of the LoRA, the ``checkpoint`` it is for and the LoRA to start from; names of weights or paths."""

    checkpoint: str = "sd-v1-5"
    init: str | None = None


def finetune(build: Build) -> Path:
    """Train on ``Build.cohort`` alone, write ``Build.lora`` and return it; done already, it is left as it is.

    The resumable state lies on the private side, since it is fingerprinted by the cohort. UserError if a control
    patient is in the cohort or a photo has no disease.
    """
    import torch

    config = build.section("finetune", FinetuneConfig)
    cohort = ImageSet.open(build.cohort)
    records = cohort.records()
    check_controls(cohort, ImageSet.open(build.controls))
    init = None if config.init is None else find_weights(config.init)
    private = build.private / "finetune"
    fingerprint = sha256_json(
        {
            "cohort": cohort.digest,
            "checkpoint": digest(find_weights(config.checkpoint)),
            "init": None if init is None else digest(init),
            "settings": config.model_dump(mode="json"),
        }
    )
    if (private / DONE).is_file() and (build.lora / LORA_FILE).is_file():
        done = read_json(private / DONE)
        if done == {"fingerprint": fingerprint, "lora": digest(build.lora / LORA_FILE)}:
            return build.lora

    pipe = load_pipeline(Generator(config.checkpoint))
    taxonomy = load_taxonomy(build.clinic)
    prompts = ["", *(taxonomy.caption(code) for code in taxonomy.codes)]
    encoded = encode_prompts(pipe, prompts)
    images = cohort.images()
    views = [images, images[:, :, ::-1]] if config.flip else [images]
    losses = train_lora(
        pipe,
        torch.stack([encode_latents(pipe, view) for view in views], dim=1),
        [1 + taxonomy.index(record.disease or "") for record in records],
        torch.stack([encoded[prompt].cpu() for prompt in prompts]),
        config,
        output=build.lora,
        state=private,
        fingerprint=fingerprint,
        init=init,
    )
    report = {
        "settings": config.model_dump(mode="json"),
        "photos": len(records),
        "patients": len({record.subject_id for record in records}),
        "steps": len(losses),
        "loss": [round(float(np.mean(part)), 5) for part in np.array_split(losses, min(20, len(losses)))],
    }
    write_json(build.lora / REPORT, report)
    write_json(private / DONE, {"fingerprint": fingerprint, "lora": digest(build.lora / LORA_FILE)})
    return build.lora


def check_controls(cohort: ImageSet, controls: ImageSet) -> None:
    """Raise UserError if a control patient, whom no model may train on, is in the cohort."""
    both = {r.subject_id for r in cohort.records()} & {r.subject_id for r in controls.records()}
    if both:
        raise UserError(f"finetune: {len(both)} control patients are in the cohort; run 'mema generate cohort' again")
