"""LoRA fine-tuning on cached latents and caption embeddings, through ``accelerate`` (MeMa, Section 3, Step 1).

Settings of the paper: rank 64, Adam with betas (0.9, 0.99), learning rate 1e-4 with cosine decay, batch 32, ten
epochs. Batch, flip, noise and time step of a step depend on the seed and the step's number alone, so a run that was
killed goes on from its last saved state and ends with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil, cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from mema.config import Config
from mema.diffusion.checkpoint import LORA_FILE, lora_file
from mema.diffusion.objective import diffusion_loss
from mema.errors import UserError
from mema.files import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BETAS = (0.9, 0.99)
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
STATE_FILE = "state.safetensors"


class LoraSettings(Config):
    """How to fine-tune; ``targets`` are endings of layer names (attention alone in the paper).

    ``steps`` counts optimiser steps and overrides ``epochs`` (passes over the photos, flips not counted).
    ``caption_dropout`` is the share of captions replaced by the empty one, so that the unconditional half of
    classifier-free guidance follows the fine-tuned model. ``save_every`` steps the state is saved.
    """

    rank: int = Field(default=64, ge=1)
    targets: tuple[str, ...] = ATTENTION
    learning_rate: float = Field(default=1e-4, gt=0)
    batch: int = Field(default=32, ge=1)
    epochs: float = Field(default=10, gt=0)
    steps: int | None = Field(default=None, ge=1)
    warmup: int = Field(default=0, ge=0)
    flip: bool = True
    caption_dropout: float = Field(default=0.0, ge=0, lt=1)
    snr_gamma: float | None = Field(default=5.0, gt=0)
    precision: Literal["no", "fp16", "bf16"] = "no"
    save_every: int = Field(default=100, ge=1)
    seed: int = 0

    def total_steps(self, photos: int) -> int:
        """Return the number of optimiser steps for a cohort of ``photos``."""
        return self.steps if self.steps is not None else ceil(self.epochs * photos / self.batch)


def train_lora(
    pipe: Any,
    latents: Tensor,
    captions: Sequence[int],
    texts: Tensor,
    settings: LoraSettings,
    *,
    output: Path,
    state: Path,
    fingerprint: str,
    init: Path | None = None,
    label: str = "fine-tune",
) -> list[float]:
    """Fine-tune the UNet of ``pipe`` and save ``output/pytorch_lora_weights.safetensors``; return each step's loss.

    ``latents`` float32 (N, V, C, h, w): V views of N photos (the photo and, with ``flip``, its mirror image), scaled;
    ``captions`` (N,) index ``texts`` (K, tokens, D), whose row 0 is the empty prompt. ``state`` is a folder for the
    resumable state, which belongs on the private side; it is used only if it was saved under the same
    ``fingerprint``. ``init`` is a LoRA to start from, of the same rank and targets (else UserError). The losses of
    steps made before a resume come from the state.
    """
    import torch
    from accelerate import Accelerator
    from tqdm import tqdm

    accelerator = Accelerator(mixed_precision=settings.precision, cpu=pipe.device.type == "cpu")
    unet = pipe.unet
    parameters = add_lora(unet, settings, init)
    optimizer = torch.optim.Adam(list(parameters.values()), lr=settings.learning_rate, betas=BETAS)
    total = settings.total_steps(len(latents))
    losses = _load_state(state / STATE_FILE, fingerprint, parameters, optimizer)
    model, optimizer = accelerator.prepare(unet, optimizer)
    model.train()

    with tqdm(
        total=total, initial=len(losses), desc=label, unit="step", disable=not accelerator.is_main_process
    ) as bar:
        for step in range(len(losses), total):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, step, total)
            photos, views, dropped, generator = _draw_batch(settings, step, latents.shape[:2], accelerator)
            text = texts[[0 if drop else captions[photo] for photo, drop in zip(photos, dropped, strict=True)]]
            with accelerator.autocast():
                loss = diffusion_loss(
                    model,
                    pipe.scheduler,
                    latents[photos, views].to(accelerator.device),
                    text.to(accelerator.device),
                    generator=generator,
                    snr_gamma=settings.snr_gamma,
                )
            optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(list(parameters.values()), 1.0)
            optimizer.step()
            losses.append(float(accelerator.gather(loss.detach().reshape(1)).mean()))
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}")
            bar.update()
            if accelerator.is_main_process and (step + 1) % settings.save_every == 0 and step + 1 < total:
                _save_state(state / STATE_FILE, fingerprint, parameters, optimizer, losses)
    if accelerator.is_main_process:
        save_lora(accelerator.unwrap_model(model), output)
    accelerator.wait_for_everyone()
    return losses


def learning_rate(settings: LoraSettings, step: int, total: int) -> float:
    """Return the rate of step ``step`` (from 0) of ``total``: linear warm-up, then cosine decay to 0."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, total - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + cos(pi * done))


def add_lora(unet: Any, settings: LoraSettings, init: Path | None = None) -> dict[str, torch.nn.Parameter]:
    """Freeze ``unet``, add a trainable LoRA (alpha = rank) in float32 and return its parameters by name.

    The first factors are drawn from ``settings.seed``, the second are 0; with ``init`` both are read from that LoRA.
    UserError when ``targets`` match no layer or ``init`` has other layers or another rank.
    """
    import torch
    from peft import LoraConfig

    unet.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.rank, target_modules=list(settings.targets), init_lora_weights="gaussian"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        try:
            unet.add_adapter(config)
        except ValueError:
            raise UserError(f"finetune: no layer of the UNet is called {', '.join(settings.targets)}") from None
    if init is not None:
        _load_init(unet, init)
    parameters = {name: p for name, p in unet.named_parameters() if p.requires_grad}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
    return parameters


def save_lora(unet: torch.nn.Module, folder: Path) -> Path:
    """Write the LoRA of ``unet`` in half precision as plain diffusers reads it; return the file."""
    import tempfile

    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    # Under peft's own names: diffusers' older ones cover attention only, and a mixture of both is read in part.
    layers = get_peft_model_state_dict(unet)
    with tempfile.TemporaryDirectory() as scratch:
        StableDiffusionPipeline.save_lora_weights(
            scratch, unet_lora_layers={name: tensor.half().contiguous() for name, tensor in layers.items()}
        )
        return atomic_write(folder / LORA_FILE, (Path(scratch) / LORA_FILE).read_bytes())


def _load_init(unet: torch.nn.Module, init: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_unet_state_dict_to_peft
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    file = lora_file(init)
    layers, *_ = StableDiffusionPipeline.lora_state_dict(str(file.parent), weight_name=file.name)
    layers = convert_unet_state_dict_to_peft({k.removeprefix("unet."): v.float() for k, v in layers.items()})
    present = {name: tensor.shape for name, tensor in get_peft_model_state_dict(unet).items()}
    if present != {name: tensor.shape for name, tensor in layers.items()}:
        raise UserError(f"finetune: init {init} has other layers or another rank than the settings ask for")
    set_peft_model_state_dict(unet, layers)


def _draw_batch(
    settings: LoraSettings, step: int, shape: Sequence[int], accelerator: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, torch.Generator]:
    """Return this process's share of batch ``step``: photos, views, dropped captions (int, int, bool), and noise.

    Photos come from shuffled passes laid end to end, so each is seen equally often.
    """
    import torch

    photos, views = int(shape[0]), int(shape[1])
    places = np.arange(step * settings.batch, (step + 1) * settings.batch)
    orders = {p: np.random.default_rng([settings.seed, 1, p]).permutation(photos) for p in {*(places // photos)}}
    batch = np.array([orders[place // photos][place % photos] for place in places])
    random = np.random.default_rng([settings.seed, 2, step])
    view, drop = random.integers(views, size=len(batch)), random.random(len(batch)) < settings.caption_dropout
    rank, world = accelerator.process_index, accelerator.num_processes
    if len(batch) % world:
        raise UserError(f"finetune: a batch of {len(batch)} cannot be shared by {world} processes")
    noise_seed = int(np.random.SeedSequence([settings.seed, 3, step, rank]).generate_state(1, np.uint64)[0] >> 1)
    return batch[rank::world], view[rank::world], drop[rank::world], torch.Generator().manual_seed(noise_seed)


def _save_state(
    file: Path, fingerprint: str, parameters: dict[str, torch.nn.Parameter], optimizer: Any, losses: list[float]
) -> None:
    from safetensors.torch import save

    optimizer = getattr(optimizer, "optimizer", optimizer)
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        moments = optimizer.state[parameter]
        tensors |= {
            f"weight/{name}": parameter.detach(),
            f"first/{name}": moments["exp_avg"],
            f"second/{name}": moments["exp_avg_sq"],
        }
    metadata = {"fingerprint": fingerprint, "losses": json.dumps(losses)}
    atomic_write(file, save({k: v.cpu().contiguous() for k, v in tensors.items()}, metadata=metadata))


def _load_state(
    file: Path, fingerprint: str, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Adam
) -> list[float]:
    """Restore what ``_save_state`` wrote under this fingerprint and return its losses; none, if it wrote nothing."""
    import torch
    from safetensors import safe_open

    if not file.is_file():
        return []
    with safe_open(str(file), framework="pt") as saved:
        metadata = saved.metadata()
        if metadata["fingerprint"] != fingerprint:
            return []
        losses: list[float] = json.loads(metadata["losses"])
        for name, parameter in parameters.items():
            parameter.data.copy_(saved.get_tensor(f"weight/{name}"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(len(losses))),
                "exp_avg": saved.get_tensor(f"first/{name}").to(parameter.device),
                "exp_avg_sq": saved.get_tensor(f"second/{name}").to(parameter.device),
            }
    return losses
