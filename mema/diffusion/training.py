"""Fine-tune a UNet on cached latents and caption embeddings, through ``accelerate`` (MeMa, Section 3, Step 1).

Batch, flip, noise and time step of a step depend on the seed and the step's number alone: neither on how many
processes share the batch nor on the pieces it is split into. So a run that was killed goes on from its last saved
state and, on a CPU, ends with the same bytes (some kernels of a GPU sum in no fixed order).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mema.diffusion.acceleration import frozen_precision, start_accelerator
from mema.diffusion.batches import draw_batch, hold_out
from mema.diffusion.checkpoint import LORA_FILE, UNET_FOLDER
from mema.diffusion.full import save_unet, unfreeze
from mema.diffusion.lora import add_lora, save_lora, summed_weights
from mema.diffusion.objective import denoising_loss, draw_noise
from mema.diffusion.settings import TrainingSettings
from mema.diffusion.state import Curves, load_state, save_state
from mema.diffusion.tracking import start_tracker, stop_tracker, track_samples

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BETAS = (0.9, 0.99)
STATE_FILE = "state.safetensors"
TRACKER_FOLDER = "tracker"
# Keys of the random streams under one seed; those of the batches are in ``mema.diffusion.batches``.
NOISE, EVALUATION, FACES = 3, 7, 8
EVALUATIONS_PER_PHOTO = 4


class Photos(NamedTuple):
    """What there is to train on, all of it encoded beforehand.

    ``latents`` float32 (N, V, C, h, w): V views of N photos (the photo and, where flips are wanted, its mirror image),
    scaled; ``captions`` (N,) index ``texts`` (K, tokens, D), whose row 0 is the empty prompt, and stand for the
    diseases; ``subjects`` (N,) are equal numbers for photos of one person; ``faces`` float32 (N, E) are the photos'
    embeddings by the pipeline's image encoder, where rows are to see them.
    """

    latents: Tensor
    captions: Sequence[int]
    texts: Tensor
    subjects: Sequence[int]
    faces: Tensor | None = None


def train(
    pipe: Any,
    photos: Photos,
    settings: TrainingSettings,
    *,
    output: Path,
    private: Path,
    fingerprint: str,
    init: Path | None = None,
    prompts: Sequence[str] = (),
    label: str = "fine-tune",
) -> Curves:
    """Fine-tune the UNet of ``pipe`` in place, save it to ``output`` and return its losses.

    ``output`` will hold ``pytorch_lora_weights.safetensors`` or, for method "full", ``unet/``: never both.
    ``private`` is a folder for what shows patients: the resumable state, which is used only if it was saved under the
    same ``fingerprint``, and the tracker's records. Losses of steps made before a resume come from the state.
    ``init`` is a LoRA to start from, of the same rank and targets (else UserError); a full training starts from the
    UNet it is given. ``prompts`` are sampled for the tracker. UserError when the processes cannot share a batch.
    """
    import torch
    from tqdm import tqdm

    accelerator = start_accelerator(settings, private / TRACKER_FOLDER, cpu=pipe.device.type == "cpu")
    rows, held = hold_out(photos.subjects, photos.captions, settings.held_out, settings.seed)
    total = settings.total_steps(len(rows))
    parameters = _trainable(pipe.unet, settings, init, frozen=frozen_precision(accelerator))
    model, optimizer = accelerator.prepare(
        pipe.unet, torch.optim.Adam(list(parameters.values()), lr=settings.learning_rate, betas=BETAS)
    )
    if photos.faces is not None:
        pipe.set_ip_adapter_scale(1.0)
    curves = load_state(private / STATE_FILE, fingerprint, parameters, optimizer, accelerator.scaler)
    done = len(curves.losses)
    start_tracker(accelerator, settings, fingerprint, done)
    model.train()
    if len(held) and not done:
        curves.held_out[0] = _held_out_loss(accelerator, pipe, photos, held, settings)
        accelerator.log({"loss/held-out": curves.held_out[0]}, step=0)

    with (
        summed_weights(pipe.unet),
        tqdm(total=total, initial=done, desc=label, unit="step", disable=not accelerator.is_main_process) as bar,
    ):
        for step in range(done, total):
            rate = settings.rate_at(step, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            curves.losses.append(_make_step(accelerator, model, optimizer, pipe, photos, rows, settings, step))
            made, last = step + 1, step + 1 == total
            records = {"loss/training": curves.losses[-1], "rate": rate}
            if len(held) and (last or made % settings.evaluate_every == 0):
                curves.held_out[made] = _held_out_loss(accelerator, pipe, photos, held, settings)
                records["loss/held-out"] = curves.held_out[made]
            accelerator.log(records, step=made)
            if accelerator.trackers and prompts and (last or made % settings.sample_every == 0):
                size = photos.latents.shape[-1] * pipe.vae_scale_factor
                track_samples(accelerator, pipe, prompts, size, made)
            bar.set_postfix(loss=f"{np.mean(curves.losses[-50:]):.4f}")
            bar.update()
            if accelerator.is_main_process and made % settings.save_every == 0 and not last:
                save_state(private / STATE_FILE, fingerprint, parameters, optimizer, accelerator.scaler, curves)
    stop_tracker(accelerator)
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if accelerator.is_main_process:
        _save(pipe.unet, settings, output)
    accelerator.wait_for_everyone()
    return curves


def _trainable(
    unet: Any, settings: TrainingSettings, init: Path | None, *, frozen: torch.dtype | None
) -> Mapping[str, torch.nn.Parameter]:
    """Make of ``unet`` what the method trains, and return the parameters, float32, by name."""
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if settings.method == "full":
        return unfreeze(unet)
    if frozen is not None:
        unet.to(frozen)
    return add_lora(unet, settings, init)


def _make_step(
    accelerator: Any,
    model: torch.nn.Module,
    optimizer: Any,
    pipe: Any,
    photos: Photos,
    rows: np.ndarray,
    settings: TrainingSettings,
    step: int,
) -> float:
    """Make one optimiser step on this process's share of batch ``step``; return the loss of the whole batch."""
    import torch

    captions = np.asarray(photos.captions)
    batch = draw_batch(settings, step, rows, captions[rows], photos.latents.shape[1])
    texts = np.where(batch.dropped, 0, captions[batch.photos])
    # Every process draws the noise of the whole batch, so that a sample's own does not depend on their number.
    shape = (settings.batch, *photos.latents.shape[2:])
    timesteps, noise = draw_noise(pipe.scheduler, shape, _generator(settings.seed, NOISE, step, 0))
    share = np.arange(settings.batch)[accelerator.process_index :: accelerator.num_processes]
    losses = []
    for piece in np.split(share, settings.accumulate):
        with accelerator.accumulate(model):
            with accelerator.autocast():
                loss = denoising_loss(
                    model,
                    pipe.scheduler,
                    photos.latents[batch.photos[piece], batch.views[piece]].to(accelerator.device),
                    photos.texts[texts[piece]].to(accelerator.device),
                    timesteps[piece],
                    noise[piece],
                    **_faces_of(photos, settings, step, batch.photos, piece, accelerator.device),
                    snr_gamma=settings.snr_gamma,
                )
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
    return float(accelerator.gather(torch.stack(losses)).mean())


def _faces_of(
    photos: Photos, settings: TrainingSettings, step: int, rows: np.ndarray, piece: np.ndarray, device: Any
) -> dict[str, Tensor]:
    """Return which faces the rows at ``piece`` of the batch see, and how much, as ``denoising_loss`` takes it."""
    import torch

    if photos.faces is None:
        return {}
    random = np.random.default_rng([settings.seed, FACES, step])
    weights = random.uniform(*settings.face_weight, settings.batch)
    weights[random.random(settings.batch) >= settings.face_share] = 0.0
    return {
        "image_embeds": photos.faces[rows[piece]].to(device),
        "image_weights": torch.from_numpy(weights[piece]).float().to(device),
    }


def _unseen(photos: Photos, rows: np.ndarray, device: Any) -> dict[str, Tensor]:
    """Return the same for rows that see no face."""
    if photos.faces is None:
        return {}
    faces = photos.faces[rows].to(device)
    return {"image_embeds": faces, "image_weights": faces.new_zeros(len(rows))}


def _held_out_loss(accelerator: Any, pipe: Any, photos: Photos, held: np.ndarray, settings: TrainingSettings) -> float:
    """Return the mean loss on the photos ``held``, unflipped, at the same time steps under the same noise each time."""
    import torch

    count = len(held) * EVALUATIONS_PER_PHOTO
    # Spread evenly over the schedule, which takes fewer of them than drawing each on its own.
    spread = (np.arange(count) + 0.5) * int(pipe.scheduler.config.num_train_timesteps) / count
    timesteps = torch.from_numpy(np.random.default_rng([settings.seed, EVALUATION]).permutation(spread.astype(int)))
    share = np.arange(count)[accelerator.process_index :: accelerator.num_processes]
    size = settings.batch // accelerator.num_processes // settings.accumulate
    total = torch.zeros(1, device=accelerator.device)
    pipe.unet.eval()
    with torch.no_grad(), accelerator.autocast():
        for start in range(0, len(share), size):
            places = share[start : start + size]
            rows = held[places // EVALUATIONS_PER_PHOTO]
            generators = [_generator(settings.seed, EVALUATION, int(place)) for place in places]
            noise = torch.stack([torch.randn(photos.latents.shape[2:], generator=one) for one in generators])
            loss = denoising_loss(
                pipe.unet,
                pipe.scheduler,
                photos.latents[rows, 0].to(accelerator.device),
                photos.texts[np.asarray(photos.captions)[rows]].to(accelerator.device),
                timesteps[places],
                noise,
                **_unseen(photos, rows, accelerator.device),
                snr_gamma=settings.snr_gamma,
            )
            total += loss * len(places)
    pipe.unet.train()
    return float(accelerator.reduce(total, "sum")) / count


def _generator(*key: int) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def _save(unet: Any, settings: TrainingSettings, output: Path) -> None:
    if settings.method == "full":
        (output / LORA_FILE).unlink(missing_ok=True)
        save_unet(unet, output)
    else:
        shutil.rmtree(output / UNET_FOLDER, ignore_errors=True)
        save_lora(unet, output)
