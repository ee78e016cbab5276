"""Training steps a second: ours on cached latents and captions, against diffusers' own text-to-image LoRA recipe.

    python -m benchmarks.training --device cpu --checkpoint phantom-sd --batch 16 --size 128

The rival is the recipe of diffusers' ``examples/text_to_image/train_text_to_image_lora.py``, in the few lines of it
that take time: in every step it reads and transforms photos and runs the VAE's encoder and the text encoder before the
UNet. Batch, rank, layers, precision and photos are the same on both sides. What ours spends once on caching is
measured, too, and counted in a column of its own, over the ten epochs of MeMa.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import common
from mema.diffusion.checkpoint import Generator, Precision, encode_latents, encode_prompts, load_pipeline
from mema.diffusion.settings import TrainingSettings
from mema.diffusion.training import Photos, train
from mema.errors import run_script
from mema.taxonomy import load_taxonomy

if TYPE_CHECKING:
    import argparse

    from torch import Tensor

CLINIC = "eye_clinic"
EPOCHS = 10
WARMUP = 2


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure both sides in each precision and print a table."""
    arguments = parse(command_line)
    device = common.start(arguments)
    images = common.faces(arguments.photos, arguments.size)
    header = ["training", "precision", "steps/s", "ratio", f"ratio over {EPOCHS} epochs with caching"]
    header += ["of the matrix peak"]
    rows = [
        row
        for precision in common.precisions(device, arguments.precision)
        for row in measure(arguments, device, precision, images)
    ]
    checkpoint = Path(arguments.checkpoint).name
    what = (
        f"`{checkpoint}` at {arguments.size} px, LoRA of rank {arguments.rank} on attention, "
        f"batch {arguments.batch}; {common.machine(device)}."
    )
    text = f"{what}\n\n{common.table(header, rows)}"
    print(text)
    if arguments.write:
        common.write_section(arguments.write, f"Training: {checkpoint} on {device}", text)


def measure(arguments: argparse.Namespace, device: str, precision: Precision, images: np.ndarray) -> list[list[str]]:
    """Return the table's rows of one precision."""
    clinic = load_taxonomy(CLINIC)
    captions = [clinic.caption(clinic.codes[number % len(clinic.codes)]) for number in range(len(images))]
    settings = TrainingSettings(
        rank=arguments.rank, batch=arguments.batch, precision=precision, snr_gamma=None, tracker="none"
    )
    pipe = load_pipeline(Generator(arguments.checkpoint), device=device)
    caching, photos = common.clock(partial(encode, pipe, images, captions), device)
    with tempfile.TemporaryDirectory() as name:
        ours = partial(train_cached, pipe, photos, settings, Path(name))
        work = common.count_operations(partial(ours, 1))
        our_seconds = seconds_a_step(ours, device, arguments)
        recipe = partial(follow_recipe, pipe, write_photos(images, Path(name)), captions, settings)
        their_seconds = seconds_a_step(recipe, device, arguments)
    peak = common.matrix_peak(device, common.dtype_of(precision))
    # A photo is cached once and takes part in as many batches as there are epochs.
    cached = caching / len(images) * settings.batch / EPOCHS
    return [
        [
            side,
            precision,
            f"{1 / seconds:.3g}",
            f"{their_seconds / seconds:.2f}",
            f"{their_seconds / (seconds + once):.2f}",
            f"{work / seconds / peak:.0%}",
        ]
        for side, seconds, once in (("diffusers' recipe", their_seconds, 0.0), ("ours", our_seconds, cached))
    ]


def parse(command_line: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = common.parser(__doc__)
    parser.add_argument("--batch", type=int, default=16, help="photos a step (default: 16)")
    parser.add_argument("--steps", type=int, default=10, help="steps a round (default: 10)")
    parser.add_argument("--photos", type=int, default=64, help="photos to train on (default: 64)")
    parser.add_argument("--rank", type=int, default=64, help="of the LoRA (default: 64)")
    parser.add_argument("--precision", nargs="+", choices=("no", "bf16", "fp16"), help="(default: all that are fast)")
    return parser.parse_args(command_line)


def seconds_a_step(run: Callable[[int], None], device: str, arguments: argparse.Namespace) -> float:
    """Return the seconds of a step: what a longer run takes beyond a short one, the fastest of each, by its steps."""
    run(WARMUP)
    rounds = [
        [common.clock(partial(run, steps), device)[0] for steps in (WARMUP, WARMUP + arguments.steps)]
        for _ in range(arguments.rounds)
    ]
    short, long = (min(times) for times in zip(*rounds, strict=True))
    return max(long - short, 1e-9) / arguments.steps


def encode(pipe: Any, images: np.ndarray, captions: Sequence[str]) -> Photos:
    """Return what ``mema generate finetune`` caches: latents of photos and their mirror images, captions."""
    import torch

    encoded = encode_prompts(pipe, ["", *captions])
    names = list(encoded)
    return Photos(
        torch.stack([encode_latents(pipe, view) for view in (images, images[:, :, ::-1])], dim=1),
        [names.index(caption) for caption in captions],
        torch.stack([encoded[name].cpu() for name in names]),
        list(range(len(images))),
    )


def train_cached(pipe: Any, photos: Photos, settings: TrainingSettings, folder: Path, steps: int) -> None:
    """Our side: the training that ``mema generate finetune`` runs, from no LoRA, for ``steps`` steps."""
    settings = settings.model_copy(update={"steps": steps})
    train(pipe, photos, settings, output=folder / "lora", private=folder / "private", fingerprint="benchmark")
    pipe.unet.unload_lora()


def write_photos(images: np.ndarray, folder: Path) -> list[Path]:
    """Write photos as PNG files, which is what the recipe reads, and return them."""
    from PIL import Image

    files = [folder / f"{number:05d}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    return files


def follow_recipe(
    pipe: Any, files: Sequence[Path], captions: Sequence[str], settings: TrainingSettings, steps: int
) -> None:
    """The rival: the published recipe with its defaults, from no LoRA, for ``steps`` steps."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig
    from PIL import Image
    from torch.nn import functional
    from torchvision import transforms

    # Accelerate keeps the precision of an earlier training otherwise.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision=settings.precision, cpu=pipe.device.type == "cpu")
    half = common.dtype_of(accelerator.mixed_precision)
    parts = (pipe.unet, pipe.vae, pipe.text_encoder)
    unet, vae, text_encoder = (part.to(half).to(memory_format=torch.contiguous_format) for part in parts)
    rank, targets = settings.rank, list(settings.targets)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets))
    cast_training_params(unet, dtype=torch.float32)
    parameters = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    size = Image.open(files[0]).width
    transform = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )

    def read(examples: Sequence[tuple[Path, str]]) -> tuple[Tensor, Tensor]:
        pixels = torch.stack([transform(Image.open(file).convert("RGB")) for file, _ in examples])
        words = [caption for _, caption in examples]
        length = pipe.tokenizer.model_max_length
        tokens = pipe.tokenizer(words, max_length=length, padding="max_length", truncation=True, return_tensors="pt")
        return pixels, tokens.input_ids

    examples: Any = list(zip(files, captions, strict=True))
    loader = torch.utils.data.DataLoader(examples, settings.batch, shuffle=True, collate_fn=read, drop_last=True)
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-2)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=0, num_training_steps=steps)
    unet, optimizer, loader, schedule = accelerator.prepare(unet, optimizer, loader, schedule)
    scheduler = pipe.scheduler
    unet.train()
    made = 0
    while made < steps:
        for pixels, tokens in loader:
            with accelerator.accumulate(unet):
                latents = vae.encode(pixels.to(half)).latent_dist.sample() * vae.config.scaling_factor
                noise = torch.randn_like(latents)
                last = scheduler.config.num_train_timesteps
                timesteps = torch.randint(0, last, (len(latents),), device=latents.device)
                noisy = scheduler.add_noise(latents, noise, timesteps)
                text = text_encoder(tokens, return_dict=False)[0]
                target = noise
                if scheduler.config.prediction_type == "v_prediction":
                    target = scheduler.get_velocity(latents, noise, timesteps)
                predicted = unet(noisy, timesteps, text, return_dict=False)[0]
                loss = functional.mse_loss(predicted.float(), target.float())
                accelerator.gather(loss.repeat(settings.batch)).mean().item()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            made += 1
            if made == steps:
                break
    accelerator.unwrap_model(unet).unload_lora()


if __name__ == "__main__":
    run_script(main)
