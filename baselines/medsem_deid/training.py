"""Train MedSem-DeID through ``accelerate`` (MeMa, §4 and Implementation Details).

    mema medsem train --config configs/methods/medsem-deid-phantom.yaml --release runs/demo/release --out runs/medsem

Photos, flips, passwords and jitter of an iteration are functions of the seed and its number alone. So a run that was
killed goes on from its last saved state and, on a CPU, ends with the same bytes; several processes (``accelerate launch
-m mema.cli medsem train …``) share each batch and average their gradients. How near that comes to one process has not
been measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from baselines.medsem_deid.photos import Photos, choose_sets, gather
from baselines.medsem_deid.settings import FREE, MedSemParameters, ScheduleSettings
from mema.errors import UserError
from mema.files import atomic_write, sha256_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from baselines.medsem_deid.latent import LatentMedSem
    from baselines.medsem_deid.losses import Round
    from baselines.medsem_deid.networks import MedSemNetwork, PatchDiscriminator

BETAS = (0.5, 0.99)
STATE_FILE, LOSSES_FILE, PREVIEW_FILE = "state.safetensors", "losses.csv", "preview.png"
PREVIEWS = 8
PASSWORD_BYTES = 16


class Batch(NamedTuple):
    """``photos`` (int) and whether each is mirrored (bool), (B,); ``passwords`` and ``wrong`` float32 (B, 512);
    ``jitter`` is a seed."""

    photos: np.ndarray
    flipped: np.ndarray
    passwords: np.ndarray
    wrong: np.ndarray
    jitter: int


class _Parts(NamedTuple):
    """The networks of a training: two that learn, two frozen ones; ``semantics`` is None where nothing uses it."""

    network: MedSemNetwork | LatentMedSem
    discriminator: PatchDiscriminator
    semantics: nn.Module | None
    identity: nn.Module


def draw_batch(schedule: ScheduleSettings, step: int, count: int) -> Batch:
    """Return the batch of ``step`` out of ``count`` photos."""
    from baselines.medsem_deid.passwords import password_vector, wrong_vector

    random = np.random.default_rng([schedule.seed, step])
    photos = random.choice(count, schedule.batch, replace=count < schedule.batch)
    flipped = (random.random(schedule.batch) < 0.5) & schedule.flip
    passwords = [random.bytes(PASSWORD_BYTES) for _ in photos]
    return Batch(
        photos,
        flipped,
        np.stack([password_vector(password) for password in passwords]),
        np.stack([wrong_vector(password, schedule.near, random) for password in passwords]),
        int(random.integers(2**32)),
    )


def train(parameters: MedSemParameters, out: Path, *, release: Path | None = None, donors: Path | None = None) -> Path:
    """Train on what ``parameters.schedule.data`` names and return the file that :func:`train_networks` wrote.

    ``release`` is a release's folder, of which the training split is taken, or an image set; ``donors`` an image set.
    UserError when photos or weights are missing.
    """
    from accelerate import PartialState

    from mema.diffusion.acceleration import local_device

    sets = choose_sets(parameters.schedule, release, donors)
    local_device()
    state = PartialState()
    with state.main_process_first():
        photos = gather(sets, parameters.network.size, out, write=state.is_main_process)
    return train_networks(parameters, photos, out)


def train_networks(parameters: MedSemParameters, photos: Photos, out: Path) -> Path:
    """Train on ``photos`` of the networks' size, write ``medsem.safetensors`` to ``out`` and return its path.

    ``out`` also holds the resumable state, ``losses.csv`` (the mean of each loss between two savings) and
    ``preview.png`` (rows: photos, encrypted, recovered, opened by a wrong password). UserError when weights are
    missing, the processes cannot share a batch or a loss is not finite.
    """
    import torch
    from tqdm import tqdm

    from baselines.medsem_deid.identity import load_identity
    from baselines.medsem_deid.latent import LatentMedSem, build_network, latents_digest
    from baselines.medsem_deid.model_file import FILE, save_model
    from baselines.medsem_deid.networks import PatchDiscriminator
    from baselines.medsem_deid.semantics import load_semantics, semantics_digest
    from mema.diffusion.acceleration import local_device, start_accelerator
    from mema.diffusion.settings import TrainingSettings
    from mema.diffusion.state import Curves, load_state, save_state

    schedule = parameters.schedule
    device = local_device()
    sharing = TrainingSettings(batch=schedule.batch, precision=schedule.precision, tracker="none")
    accelerator = start_accelerator(sharing, out, cpu=device == "cpu")
    used = parameters.network.medical or parameters.loss.medical > 0
    semantics = load_semantics(parameters.encoder, device=device) if used else None
    encoder_digest = semantics_digest(parameters.encoder) if used else ""
    latents = latents_digest(parameters.network)
    identity = load_identity(parameters.loss.identity).to(device)
    network = build_network(parameters.network, semantics.channels if semantics else 0, schedule.seed).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        discriminator = PatchDiscriminator(parameters.network).to(device)
    parts = _Parts(network, discriminator, semantics, identity)
    learnt = {f"network.{name}": value for name, value in network.named_parameters() if value.requires_grad}
    learnt |= {f"discriminator.{name}": value for name, value in discriminator.named_parameters()}
    # One Adam for both: it passes over parameters without a gradient, and each step gives gradients to one network.
    optimizer = torch.optim.Adam(list(learnt.values()), lr=schedule.rate, betas=BETAS)
    fingerprint = sha256_json(
        {
            "photos": photos.digest,
            "encoder": encoder_digest,
            "latents": latents,
            "parameters": parameters.model_dump(mode="json", exclude=FREE | {"encoder_training": True}),
        }
    )
    kept = learnt | {f"network.{name}": value for name, value in network.named_buffers(recurse=False)}
    curves = load_state(out / STATE_FILE, fingerprint, kept, optimizer, None)
    done = len(curves.losses)
    if not done and isinstance(network, LatentMedSem):
        network.fit(photos.images, mirrored=schedule.flip)
    record = _Record(out / LOSSES_FILE, done)
    with tqdm(
        total=schedule.steps, initial=done, desc="medsem", unit="step", disable=not accelerator.is_main_process
    ) as bar:
        for step in range(done, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate_at(step)
            losses = _make_step(accelerator, parts, optimizer, photos.images, parameters, step)
            curves.losses.append(losses["total"])
            record.add(losses)
            bar.set_postfix({name[:6]: f"{losses[name]:.3f}" for name in ("deidentify", "wrong", "recover")})
            bar.update()
            made = step + 1
            if accelerator.is_main_process and (made % schedule.save_every == 0 or made == schedule.steps):
                save_model(network, out / FILE, parameters, semantics=encoder_digest, latents=latents)
                _preview(accelerator, parts, photos.images, schedule, out / PREVIEW_FILE)
                record.write(made)
                save_state(out / STATE_FILE, fingerprint, kept, optimizer, None, Curves(curves.losses, {}))
    if accelerator.is_main_process and not (out / FILE).is_file():
        save_model(network, out / FILE, parameters, semantics=encoder_digest, latents=latents)
    accelerator.wait_for_everyone()
    return out / FILE


def _make_step(
    accelerator: Any, parts: _Parts, optimizer: Any, images: np.ndarray, parameters: MedSemParameters, step: int
) -> dict[str, float]:
    """Make iteration ``step``: the discriminator's, then the de-identifier's; return the losses of the whole batch."""
    import torch

    from baselines.medsem_deid.losses import discriminator_loss, generator_losses, weighted

    batch = draw_batch(parameters.schedule, step, len(images))
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    with accelerator.autocast():
        made = _go_round(parts, images, batch, share, accelerator.device)
        judged = discriminator_loss(made, parts.discriminator)
    _descend(accelerator, optimizer, judged, parts.discriminator)

    parts.discriminator.requires_grad_(False)
    with accelerator.autocast():
        identify = _identify(parts.identity, batch.jitter if parameters.loss.jitter else None)
        losses = generator_losses(made, identify, parts.discriminator, parameters.loss)
        total = weighted(losses, parameters.loss)
    _descend(accelerator, optimizer, total, parts.network)
    parts.discriminator.requires_grad_(True)

    every = {**losses, "discriminator": judged, "total": total}
    means = accelerator.reduce(torch.stack([loss.detach().float() for loss in every.values()]), "mean")
    if not bool(torch.isfinite(means).all()):
        raise UserError(
            f"medsem: the losses of iteration {step} are not finite: lower schedule.rate or use precision no"
        )
    return dict(zip(every, means.tolist(), strict=True))


def _go_round(parts: _Parts, images: np.ndarray, batch: Batch, share: slice, device: torch.device) -> Round:
    """Encrypt this process's ``share`` of the photos and open them again, by the right password and by a wrong one."""
    import torch

    from baselines.medsem_deid.losses import Round
    from baselines.medsem_deid.networks import as_saved, to_signal

    network = parts.network
    pictures = np.stack([images[row] for row in batch.photos[share]])
    pictures = np.where(batch.flipped[share, None, None, None], pictures[:, :, ::-1], pictures)
    original = to_signal(torch.from_numpy(pictures)).to(device)
    password = torch.from_numpy(batch.passwords[share]).to(device)
    wrong = torch.from_numpy(batch.wrong[share]).to(device)
    with torch.no_grad():
        medical = _medical(parts, original)
    encrypted = as_saved(network.encrypt(original, medical, password))
    medical_encrypted = _medical(parts, encrypted)
    features = network.read(encrypted, medical_encrypted)
    opened = network.decrypt(torch.cat([features, features]), torch.cat([password, wrong]))
    recovered, opened_wrong = opened.chunk(2)
    return Round(original, encrypted, recovered, opened_wrong, medical, medical_encrypted)


def _medical(parts: _Parts, images: Tensor) -> Tensor:
    """Return f_med of ``images``; of no channel where nothing uses it."""
    return images[:, :0] if parts.semantics is None else parts.semantics(images)


def _identify(identity: nn.Module, jitter: int | None) -> Callable[[Tensor], Tensor]:
    """Return phi over images in [-1, 1]; with a seed ``jitter`` it sees all of them shifted, lit and spoilt alike."""
    import torch
    from torch.nn import functional

    if jitter is None:
        return lambda images: identity((images + 1) / 2)
    random = np.random.default_rng(jitter)

    def identify(images: Tensor) -> Tensor:
        side = images.shape[-1]
        most = max(1, side // 25)
        down, right = (int(value) for value in random.integers(0, 2 * most + 1, 2))
        padded = functional.pad((images + 1) / 2, (most,) * 4, mode="replicate")
        moved = padded[:, :, down : down + side, right : right + side] * float(random.uniform(0.85, 1.15))
        generator = torch.Generator().manual_seed(int(random.integers(2**32)))
        noise = torch.randn(moved.shape, generator=generator).to(moved.device)
        return identity((moved + float(random.uniform(0, 0.04)) * noise).clamp(0, 1))

    return identify


def _descend(accelerator: Any, optimizer: Any, loss: Tensor, module: nn.Module) -> None:
    """Follow the gradient of ``loss``, averaged over the processes and its norm clipped, with ``module`` alone."""
    import torch

    accelerator.backward(loss)
    parameters = [parameter for parameter in module.parameters() if parameter.grad is not None]
    if accelerator.num_processes > 1:
        gradients = [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
        mean = accelerator.reduce(torch.cat(gradients), "mean")
        for parameter, piece in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = piece.view_as(parameter)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class _Record:
    """``losses.csv``: a row of means for each saving, rows after ``done`` steps dropped."""

    def __init__(self, file: Path, done: int) -> None:
        self.file = file
        self.pending: list[dict[str, float]] = []
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() and done else []
        self.lines = [line for line in lines if not line[:1].isdigit() or int(line.split(",")[0]) <= done]

    def add(self, losses: dict[str, float]) -> None:
        self.pending.append(losses)

    def write(self, step: int) -> None:
        names = list(self.pending[0])
        means = [f"{np.mean([losses[name] for losses in self.pending]):.5f}" for name in names]
        self.lines = [*(self.lines or [",".join(["step", *names])]), ",".join([str(step), *means])]
        self.pending = []
        atomic_write(self.file, "\n".join(self.lines) + "\n")


def _preview(accelerator: Any, parts: _Parts, images: np.ndarray, schedule: ScheduleSettings, file: Path) -> None:
    """Save the first photos over what becomes of them, under passwords that are the same each time."""
    import io

    import torch
    from PIL import Image

    from baselines.medsem_deid.networks import to_pixels

    shown = schedule.model_copy(update={"batch": min(PREVIEWS, len(images)), "flip": False})
    batch = draw_batch(shown, 0, len(images))
    with torch.no_grad(), accelerator.autocast():
        made = _go_round(parts, images, batch, slice(None), accelerator.device)
    rows: Sequence[Tensor] = (made.original, made.encrypted, made.recovered, made.wrong)
    sheet = np.vstack([np.hstack(list(to_pixels(row).cpu().numpy())) for row in rows])
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    atomic_write(file, buffer.getvalue())
