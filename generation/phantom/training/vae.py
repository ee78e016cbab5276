"""Train the autoencoder of ``phantom-sd``: 128 px photos to latents of 8 x 32 x 32 and back.

    python -m generation.phantom.training.vae --data runs/training/donors --out runs/training/vae --steps 20000

writes a diffusers ``AutoencoderKL`` folder (``vae/``), a checkpoint and a sheet of held-out photos beside their
reconstructions. The encoder is not learnt: its weights are set so that it computes the principal components of 4 x 4 px
(``set_linear_encoder``), which keep colours exactly, code a lesion no donor has as well as a donor's skin, and can be
diffused upon while the decoder still trains. The decoder sees donors only; so that lesions survive all the same, blobs
of any colour are pasted on most photos, and the eyes weigh four times as much as the rest of a photo.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generation.phantom.training.data import Donors, load_donors
from generation.phantom.training.loop import (
    Average,
    argument_parser,
    contact_sheet,
    device_of,
    learning_rate,
    optimise,
    processes,
    train,
)
from mema.errors import run_script

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    # diffusers imports its classes lazily, so a type checker sees nothing of them.
    AutoencoderKL = Any

LATENTS = 8
PATCH = 4
"""Side in pixels of what one place of the latents codes."""

SPREAD = 0.02
"""Standard deviation of the latents' posterior, a fiftieth of their own: the decoder forgives that much."""

EYE_WEIGHT = 4.0
EDGE_WEIGHT = 0.7
RED_WEIGHT = 4.0
CROP = 64
"""Side in pixels of what one training sample shows: a quarter of a photo, so a step costs a quarter."""


def build() -> AutoencoderKL:
    """The untrained autoencoder: two halvings, no attention (so a crop is coded as in its photo).

    Few groups of many channels: normalising pairs of channels would wash out colours.
    """
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=2,
        sample_size=128,
        mid_block_add_attention=False,
    )


def patch_components(images: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (48,) of 4 x 4 px patches and the ``LATENTS`` components (LATENTS, 48) that code them.

    ``images`` uint8 (N, H, W, 3) are read in [-1, 1], a patch in the order row, column, colour; patches about the
    ``eyes`` (N, 4; boxes in pixels) count ``EYE_WEIGHT`` times. The first three components are those of a patch's mean
    colour, the others those of what differs within it. Colours are divided by their standard deviation: what tells red
    from green varies a twentieth as much as brightness, and a diffusion model that learns both under the same noise
    would draw every face in a colour cast. Details are divided by its square root, so that the noise leaves the coarse
    ones first, as a photo's do.
    """
    count, height, width, _ = images.shape
    rows, columns = height // PATCH, width // PATCH
    signal = images.astype(np.float32) / 127.5 - 1
    patches = signal.reshape(count, rows, PATCH, columns, PATCH, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, PATCH**2, 3)
    weights = np.ones((count, rows, columns), dtype=np.float32)
    for weight, (left, top, right, bottom) in zip(weights, eyes // PATCH, strict=True):
        weight[top : bottom + 1, left : right + 1] = EYE_WEIGHT
    weights /= weights.sum()
    colours = patches.mean(axis=1)
    details = (patches - colours[:, None]).reshape(-1, 48)
    colour_deviations, colour_vectors = _principal(colours, weights.ravel(), 3)
    detail_deviations, detail_vectors = _principal(details, weights.ravel(), LATENTS - 3)
    of_mean_colour = np.tile(colour_vectors / colour_deviations / PATCH**2, (PATCH**2, 1))
    within = detail_vectors / detail_deviations**0.5
    mean = np.average(patches.reshape(-1, 48), axis=0, weights=weights.ravel())
    return mean, np.concatenate([of_mean_colour, within], axis=1).T


def _principal(values: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (count,) and unit vectors (D, count) of the first components of ``values`` (N, D)."""
    centred = (values - np.average(values, axis=0, weights=weights)) * np.sqrt(weights[:, None])
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    first = np.argsort(variances)[::-1][:count]
    return variances[first] ** 0.5, vectors[:, first]


def set_linear_encoder(vae: AutoencoderKL, mean: np.ndarray, components: np.ndarray) -> None:
    """Make the encoder compute ``components`` (LATENTS, 48) of patches less their ``mean``, and freeze it.

    Residual blocks pass their input on unchanged. The last normalisation and SiLU are undone: each group holds signals
    z and -z beside large constants, which alone decide its scale, and silu(z) - silu(-z) = z.
    """
    import torch

    encoder, constant = vae.encoder, 100.0
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    for layer in [*encoder.modules(), vae.quant_conv]:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)
    first, second, third = encoder.down_blocks
    for channel in range(3):
        encoder.conv_in.weight[channel, channel, 1, 1] = 1
    weights = torch.from_numpy(components).float().view(LATENTS, 2, 2, 2, 2, 3)
    for row, column, colour in np.ndindex(2, 2, 3):
        pixel = (2 * row + column) * 3 + colour
        first.downsamplers[0].conv.weight[pixel, colour, row, column] = 1
        second.resnets[0].conv_shortcut.weight[pixel, pixel, 0, 0] = 1
        second.downsamplers[0].conv.weight[:LATENTS, pixel, :2, :2] = weights[:, :, row, :, column, colour]
    second.downsamplers[0].conv.bias[:LATENTS] = torch.from_numpy(-components @ mean).float()

    norm, last = encoder.conv_norm_out, third.resnets[0].conv_shortcut
    size, signals = norm.num_channels // norm.num_groups, LATENTS // norm.num_groups
    gain = constant * ((size - 2 * signals) / size) ** 0.5
    for group in range(norm.num_groups):
        for place in range(size):
            channel, latent = group * size + place, group * signals + place // 2
            sign = 1 - 2 * (place % 2)
            if place < 2 * signals:
                last.weight[channel, latent, 0, 0] = sign
                encoder.conv_out.weight[latent, channel, 1, 1] = sign * gain
            else:
                last.bias[channel] = sign * constant
    encoder.conv_out.bias[LATENTS:] = 2 * math.log(SPREAD)
    for channel in range(2 * LATENTS):
        vae.quant_conv.weight[channel, channel, 0, 0] = 1


def to_signal(images: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(signal: Tensor) -> np.ndarray:
    """Float (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3)."""
    clipped = ((signal.float() + 1) * 127.5).round().clamp(0, 255)
    return clipped.permute(0, 2, 3, 1).byte().cpu().numpy()


def augment(photos: Tensor, eyes: Tensor, generator: torch.Generator) -> Tensor:
    """Vary the colours of ``photos`` (N, 3, H, W) and paste up to four soft blobs.

    ``eyes`` (N, 4) are the eyes' boxes in pixels; two blobs in three lie there. A blob has any colour, 1.5 to 11 px
    of radius and a wavy border: something red, white or dark, as lesions are, without being any of them.
    """
    import torch

    count, _, height, width = photos.shape

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=photos.device)

    gain = uniform(count, 3, 1, 1, low=0.9, high=1.1)
    result = ((photos + 1) * gain - 1).clamp(-1, 1)
    y = torch.arange(height, device=photos.device).view(1, -1, 1)
    x = torch.arange(width, device=photos.device).view(1, 1, -1)
    whole = torch.tensor([0, 0, width, height], device=photos.device)
    for _ in range(4):
        box = torch.where(uniform(count, 1) < 0.67, eyes, whole).float()
        place = box[:, :2] + (box[:, 2:] - box[:, :2]) * uniform(count, 2)
        dx, dy = x - place[:, 0].view(-1, 1, 1), y - place[:, 1].view(-1, 1, 1)
        angle = torch.atan2(dy, dx)
        waves = torch.floor(uniform(count, 1, 1, low=2, high=6))
        border = 1 + uniform(count, 1, 1, high=0.35) * torch.sin(waves * angle + 6.3 * uniform(count, 1, 1))
        radius = torch.exp(uniform(count, 1, 1, low=math.log(1.5), high=math.log(11))) * border
        softness = uniform(count, 1, 1, low=0.3, high=2.0)
        cover = torch.sigmoid((radius - (dx.square() + dy.square()).sqrt()) / softness)
        cover = cover * uniform(count, 1, 1, low=0.2) * (uniform(count, 1, 1) < 0.4)
        result = torch.lerp(result, uniform(count, 3, 1, 1, low=-1), cover.unsqueeze(1))
    return result


def crops(images: Tensor, eyes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut ``CROP`` px squares from uint8 (N, H, W, 3), half of them about an eye; return them and the boxes in them."""
    import torch

    count, height, width, _ = images.shape
    drawn = torch.rand(count, 3, generator=generator, device=images.device)
    room = torch.tensor([width - CROP, height - CROP], device=images.device)
    anywhere = drawn[:, :2] * (room + 1)
    middle = eyes[:, :2] + (eyes[:, 2:] - eyes[:, :2]) * drawn[:, :2] - CROP / 2
    corner = torch.where(drawn[:, 2:] < 0.5, middle, anywhere).floor().long()
    corner = torch.minimum(corner.clamp(min=0), room)
    steps = torch.arange(CROP, device=images.device)
    x, y = corner[:, :1] + steps, corner[:, 1:] + steps
    cut = images[torch.arange(count, device=images.device)[:, None, None], y[:, :, None], x[:, None, :]]
    return cut, (eyes - corner.repeat(1, 2)).clamp(0, CROP)


def reconstruction_loss(decoded: Tensor, photos: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of pixels, of their two opponent colours (redness is a sign, and brightness would drown it), and of
    the differences to the right and below (which keep edges sharp)."""
    difference = decoded - photos
    red_green = difference[:, 0] - difference[:, 1]
    blue_yellow = difference[:, 2] - (difference[:, 0] + difference[:, 1]) / 2
    error = (weight * difference.abs()).mean()
    error = error + (weight[:, 0] * (RED_WEIGHT * red_green.abs() + blue_yellow.abs())).mean()
    for axis in (2, 3):
        slope = (decoded.diff(dim=axis) - photos.diff(dim=axis)).abs()
        inner = weight.narrow(axis, 0, weight.shape[axis] - 1)
        error = error + EDGE_WEIGHT * (inner * slope).mean()
    return error


def eye_weights(eyes: Tensor, size: int) -> Tensor:
    """Weights (N, 1, size, size): ``EYE_WEIGHT`` in each box (left, top, right, bottom), 1 outside."""
    import torch

    at = torch.arange(size, device=eyes.device)
    inside_x = (at >= eyes[:, :1]) & (at < eyes[:, 2:3])
    inside_y = (at >= eyes[:, 1:2]) & (at < eyes[:, 3:])
    return 1 + (EYE_WEIGHT - 1) * (inside_y.unsqueeze(2) & inside_x.unsqueeze(1)).unsqueeze(1).float()


def latents_of(vae: AutoencoderKL, images: np.ndarray, device: torch.device, batch: int = 8) -> Tensor:
    """Means of the latents of uint8 images, unscaled, float32 (N, LATENTS, h, w) on ``device``."""
    import torch

    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(np.array(images[start : start + batch])).to(device)
            parts.append(vae.encode(to_signal(pixels)).latent_dist.mean.float())
    return torch.cat(parts)


def train_vae(donors: Donors, out: Path, *, steps: int, batch: int, rate: float, device: torch.device) -> None:
    """Train, keep ``out/checkpoint.pt``, and export the average as ``out/vae`` with ``out/preview.png``."""
    import torch

    torch.manual_seed(0)
    vae, shipped = build(), build()
    seen = slice(0, donors.training, 40)
    components = patch_components(np.array(donors.images[seen]), donors.eyes[seen])
    for model in (vae, shipped):
        with torch.no_grad():
            set_linear_encoder(model, *components)
        model.to(device)
    average = Average(vae, 0.998)
    learnt = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=rate, betas=(0.9, 0.99), weight_decay=1e-4)
    eyes = torch.from_numpy(donors.eyes.astype(np.int64)).to(device)
    generator = torch.Generator(device)
    rank, world = processes()

    def step(index: int) -> dict[str, Tensor]:
        generator.manual_seed(index * world + rank)
        rows = torch.randint(donors.training, (batch,), generator=generator, device=device)
        photos = torch.from_numpy(donors.images[rows.cpu().numpy()]).to(device)
        pixels, boxes = crops(photos, eyes[rows], generator)
        signal = augment(to_signal(pixels), boxes, generator)
        with torch.no_grad():
            code = vae.encode(signal).latent_dist.sample(generator)
        with torch.autocast(device.type, torch.bfloat16):
            decoded = vae.decode(code).sample
        error = reconstruction_loss(decoded.float(), signal, eye_weights(boxes, CROP))
        optimise(optimiser, error, learning_rate(index, steps, rate))
        average.update(vae)
        return {"error": error.detach()}

    def export() -> None:
        average.apply(shipped)
        sample = latents_of(shipped, donors.images[: min(400, donors.training)], device)
        shipped.register_to_config(scaling_factor=round(float(1 / sample.std()), 5))
        shipped.save_pretrained(out / "vae")
        held_out = donors.images[-8:]
        preview(shipped, held_out, out / "preview.png", device)

    train("vae", out / "checkpoint.pt", {"vae": vae, "optimiser": optimiser, "average": average}, steps, step, export)


def reconstruct(vae: AutoencoderKL, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Encode and decode uint8 images (N, H, W, 3)."""
    import torch

    with torch.no_grad():
        return np.concatenate(
            [
                to_images(vae.decode(latents_of(vae, images[start : start + 32], device)).sample)
                for start in range(0, len(images), 32)
            ]
        )


def preview(vae: AutoencoderKL, images: np.ndarray, path: Path, device: torch.device) -> float:
    """Save photos over their reconstructions; return the peak signal-to-noise ratio in decibel."""
    made = reconstruct(vae, np.asarray(images), device)
    contact_sheet([*images, *made], len(images), path)
    error = np.square(made.astype(float) - images).mean() / 255**2
    decibel = -10 * math.log10(error)
    print(f"held-out donors: {decibel:.2f} dB, scaling factor {vae.config.scaling_factor}", flush=True)
    return decibel


def main() -> None:
    """Parse the command line and train."""
    parser = argument_parser(__doc__, steps=20_000, batch=8, rate=3e-3)
    given = parser.parse_args()
    train_vae(
        load_donors(given.data),
        given.out,
        steps=given.steps,
        batch=given.batch,
        rate=given.rate,
        device=device_of(given.device),
    )


if __name__ == "__main__":
    run_script(main)
