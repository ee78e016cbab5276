r"""Train the password network on faces; a run that is killed goes on from its last checkpoint.

    python -m baselines.password.train --images runs/demo/donors --out runs/password

``--images`` is a release (its training split), an image set, or an ``.npy`` file of uint8 photos (N, H, W, 3). Labels
are not used. ``OUT/weights.safetensors`` is what the method's ``weights`` parameter takes; the rows of
``OUT/preview.png`` are photos, what was published, what the right password gives and what a wrong one gives.
``accelerate launch`` trains on several GPUs.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.password.method import PasswordParameters, build_network, save_network
from baselines.password.network import SIZE, passwords_of
from baselines.password.objective import WEIGHTS, Discriminator, discriminator_loss, losses, play
from baselines.photos import load_photos, reduced
from mema.classifier import as_tensor
from mema.errors import UserError, run_script
from mema.files import sha256_file
from mema.weights import find_weights

RECOGNISERS = ("arcface", "cosface")
"""What the network learns to deceive. The benchmark's own recognisers are never among them."""

SAVE_EVERY = 50
PREVIEWED = 8


def train(photos: np.ndarray, out: Path, *, code: Path, steps: int, batch: int, rate: float, seed: int) -> None:
    """Train on ``photos``, uint8 (N, H, W, 3), round the face code in the file ``code``.

    The same seed and steps give the same weights on one machine. Adam with betas (0.5, 0.99), a cosine rate; what is
    kept is an average over the last steps. UserError when ``out`` holds a training of other photos or settings.
    """
    from accelerate import Accelerator
    from accelerate.utils import set_seed
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from tqdm import tqdm

    from mema.classifier import fast_bfloat16
    from mema.diffusion.acceleration import forget_training
    from mema.faces.phantom_recogniser import load_network
    from mema.weights import locate

    forget_training()
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() or fast_bfloat16() else "no")
    set_seed(seed)
    network, discriminator = build_network(code), Discriminator()
    judges = [
        load_network(locate(f"phantom-recognisers/{name}")).requires_grad_(False).to(accelerator.device)
        for name in RECOGNISERS
    ]
    optimiser, opponent = (
        torch.optim.Adam(model.parameters(), lr=rate, betas=(0.5, 0.99)) for model in (network, discriminator)
    )
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    code_digest = sha256_file(code)
    trained = {"code": code_digest, "seed": seed, "batch": batch, "rate": rate, "photos": _digest(photos)}
    parts = {"network": network, "discriminator": discriminator, "optimiser": optimiser, "opponent": opponent}
    done = _resume(out / "checkpoint.pt", trained, parts | {"average": average})
    network, discriminator, optimiser, opponent = accelerator.prepare(*parts.values())
    average.to(accelerator.device)

    with tqdm(total=steps, initial=done, desc="password", unit="step", mininterval=10) as bar:
        for step in range(done, steps):
            words = np.random.SeedSequence([seed, step, accelerator.process_index]).generate_state(1)
            generator = torch.Generator().manual_seed(int(words[0]))
            for group in [*optimiser.param_groups, *opponent.param_groups]:
                group["lr"] = rate * _share(step, steps)
            faces = _draw(photos, batch // accelerator.num_processes, generator).to(accelerator.device)
            with accelerator.autocast():
                outcome = play(network, faces, generator)
                terms = losses(outcome, judges[step % len(judges)], discriminator, generator)
            optimiser.zero_grad()
            accelerator.backward(torch.stack([WEIGHTS[name] * term.float() for name, term in terms.items()]).sum())
            accelerator.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            with accelerator.autocast():
                error = discriminator_loss(discriminator, outcome)
            opponent.zero_grad()
            accelerator.backward(error)
            opponent.step()
            average.update_parameters(accelerator.unwrap_model(network))
            bar.update()
            made = step + 1
            if accelerator.is_main_process and (made % SAVE_EVERY == 0 or made == steps):
                bar.set_postfix({name: f"{term.item():.3f}" for name, term in terms.items()})
                origin = f"{made} steps, seed {seed}"
                save_network(average.module, code_digest, out / "weights.safetensors", origin)
                preview(average.module, photos, out / "preview.png")
                # Last: what is said to be done lies there.
                _save(out / "checkpoint.pt", trained, parts | {"average": average}, made)


def preview(network: Any, photos: np.ndarray, path: Path) -> None:
    """Save a sheet: photos, published, opened with the right password, opened with a wrong one."""
    from PIL import Image

    device = next(network.parameters()).device
    faces = reduced(as_tensor(photos[-PREVIEWED:]), SIZE).to(device)
    right, wrong = (passwords_of([f"{word} {row}" for row in range(len(faces))]).to(device) for word in ("a", "b"))
    with torch.no_grad():
        hidden = (network.hide(faces, right).clamp(0, 1) * 255).round() / 255
        rows = [faces, hidden, network.reveal(hidden, right), network.reveal(hidden, wrong)]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).clamp(0, 1)
    Image.fromarray((sheet.permute(1, 2, 0) * 255).round().byte().cpu().numpy()).save(path)


def _draw(photos: np.ndarray, count: int, generator: torch.Generator) -> Tensor:
    """Draw photos, each mirrored half of the time: float (count, 3, SIZE, SIZE) in [0, 1]."""
    rows = torch.randint(len(photos), (count,), generator=generator)
    faces = reduced(as_tensor(np.stack([photos[row] for row in rows.tolist()])), SIZE)
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, faces.flip(3), faces)


def _share(step: int, steps: int, warmup: int = 20) -> float:
    """Return the share of the peak rate: a short warm-up, then a cosine down to a fiftieth."""
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _digest(photos: np.ndarray) -> str:
    """Return the sha256 of ``photos``, read a block at a time."""
    found = hashlib.sha256(str(photos.shape).encode())
    for start in range(0, len(photos), 256):
        found.update(np.ascontiguousarray(photos[start : start + 256]).tobytes())
    return found.hexdigest()


def _save(checkpoint: Path, trained: dict[str, Any], parts: dict[str, Any], step: int) -> None:
    part = checkpoint.with_suffix(".part")
    states = {name: value.state_dict() for name, value in parts.items()}
    torch.save({"step": step, "trained": trained, **states}, part)
    part.replace(checkpoint)


def _resume(checkpoint: Path, trained: dict[str, Any], parts: dict[str, Any]) -> int:
    """Return the step to go on from; UserError when ``checkpoint`` was trained otherwise than ``trained`` says."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if not checkpoint.is_file():
        return 0
    kept = torch.load(checkpoint, map_location="cpu", weights_only=True)
    step = int(kept.pop("step"))
    if kept.pop("trained", None) != trained:
        raise UserError(f"{checkpoint}: trained on other photos or otherwise; choose another folder or remove it")
    for name, state in kept.items():
        parts[name].load_state_dict(state)
    return step


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--code", default=PasswordParameters().code, help="what baselines.latent_code.fit wrote, or a name"
    )
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    train(
        load_photos(given.images),
        given.out,
        code=find_weights(given.code, file=True),
        steps=given.steps,
        batch=given.batch,
        rate=given.rate,
        seed=given.seed,
    )


if __name__ == "__main__":
    run_script(main)
