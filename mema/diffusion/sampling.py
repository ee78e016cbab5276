"""Sample faces in batches whose rows have different prompts, donors and donor weights (MeMa, Section 3, Step 2).

The UNet loop is our own, because the pipeline's does not keep donor embeddings matched to the rows of a batch. Each
row's noise comes from its own seed and nothing in the loop is random, so a row made alone is the same picture: in
float32 equal to within one grey level (1/255), the difference being the order in which a processor sums floats for
another batch size. In bf16 and fp16 the same difference is seen: the mean over an image stays below one grey level, but
single pixels differ by more. The same batches give the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mema.diffusion.checkpoint import encode_prompts
from mema.diffusion.donors import donor_arguments
from mema.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SchedulerName = Literal["dpm", "ddim"]

DECODED_AT_ONCE = 4
"""Images that the VAE decodes at a time: at 512 px each takes gigabytes, and more at once are no faster."""


class Drawing(NamedTuple):
    """What one image is made from.

    ``donor`` is an embedding, float32 (E,), from ``encode_faces``, or None; ``donor_weight`` in [0, 1] scales what
    the IP-Adapter adds, and 0 is direct sampling.
    """

    prompt: str
    seed: int
    donor: Tensor | None = None
    donor_weight: float = 0.0


class Schedule(NamedTuple):
    """How noise becomes a picture, in ``steps``; ``solver`` is "dpm" (DPM-Solver++ 2M) or "ddim" (eta 0).

    ``guidance`` is the classifier-free scale (1 = none). As in diffusers' pipeline it amplifies what a donor adds too,
    unless ``guide_donor`` is False: then it amplifies the prompt alone, and a healthy donor takes less of the disease
    away. Donors are seen in the first ``donor_until`` of the steps, in which a face takes shape; its details then
    follow the prompt alone. Where there is a donor to shape it, fine-tuned weights, which remember patients, need not
    shape it too: they take over ``tuned_from`` that share of the steps.
    """

    steps: int = 20
    guidance: float = 7.5
    guide_donor: bool = True
    donor_until: float = 1.0
    tuned_from: float = 0.0
    solver: SchedulerName = "dpm"


def sample(
    pipe: Any, drawings: Sequence[Drawing], *, size: int, schedule: Schedule, untuned: Any = None, batch: int = 8
) -> np.ndarray:
    """Return one image per drawing, uint8 (N, size, size, 3), in order.

    ``pipe`` comes from ``load_pipeline``, whose precision it keeps, and so does ``untuned``, the same without
    fine-tuned weights, which ``schedule.tuned_from`` above 0 needs. UserError when a donor is given to a pipeline
    without IP-Adapter.
    """
    import torch

    if not has_adapter(pipe) and any(map(_has_donor, drawings)):
        raise UserError("donors were given, but the generator has no IP-Adapter")
    for one in (pipe, untuned):
        if one is not None and has_adapter(one):
            one.set_ip_adapter_scale(1.0)
    texts = encode_prompts(pipe, ["", *(row.prompt for row in drawings)])
    images = np.zeros((len(drawings), size, size, 3), np.uint8)
    with torch.no_grad():
        for rows in _batches(drawings, batch, apart=schedule.tuned_from > 0):
            part = [drawings[row] for row in rows]
            first = untuned if schedule.tuned_from > 0 and _has_donor(part[0]) else pipe
            images[rows] = _decode(pipe, _denoise(pipe, first, part, texts, size, schedule))
    return images


def compile_unet(pipe: Any) -> None:
    """Have ``torch.compile`` compile the UNet in place: for the first batch, and once more for all of other sizes.

    Pictures stay within the tolerance of their precision. UserError when there is no C++ compiler, which it needs on
    every device.
    """
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise UserError("compile needs a C++ compiler (g++ or clang++); set compile: false to do without")
    pipe.unet.compile()


def has_adapter(pipe: Any) -> bool:
    """Say whether an IP-Adapter is loaded into the pipeline's UNet."""
    return pipe.unet.config.encoder_hid_dim_type == "ip_image_proj"


def _has_donor(drawing: Drawing) -> bool:
    return drawing.donor is not None and drawing.donor_weight > 0


def _batches(drawings: Sequence[Drawing], size: int, *, apart: bool) -> Iterator[list[int]]:
    """Yield the places of ``drawings`` in batches; those with a donor ``apart`` from those without."""
    kinds: tuple[list[int], list[int]] = ([], [])
    for row, drawing in enumerate(drawings):
        kinds[apart and _has_donor(drawing)].append(row)
    for rows in kinds:
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _denoise(
    pipe: Any, first: Any, rows: Sequence[Drawing], texts: dict[str, Tensor], size: int, schedule: Schedule
) -> Tensor:
    """Return the latents of ``rows``; the pipeline ``first`` begins and ``pipe`` ends, as ``schedule`` says."""
    import torch

    side = size // pipe.vae_scale_factor
    shape = (pipe.unet.config.in_channels, side, side)
    # Noise is drawn on the CPU, so that a seed means the same picture on every machine.
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(row.seed)) for row in rows]
    solver = make_solver(pipe, schedule.solver)
    solver.set_timesteps(schedule.steps, device=pipe.device)
    latents = torch.stack(noise).to(pipe.device) * solver.init_noise_sigma
    dtype = pipe.unet.dtype
    # The unconditional half comes first, as in the pipeline.
    text = torch.stack([texts[""]] * len(rows) + [texts[row.prompt] for row in rows]).to(dtype)
    seen = _conditions(pipe, rows, side, schedule.guide_donor)
    unseen = _conditions(pipe, [row._replace(donor=None) for row in rows], side, schedule.guide_donor)
    for number, step in enumerate(solver.timesteps):
        doubled = solver.scale_model_input(torch.cat([latents, latents]), step)
        unet = first.unet if number < schedule.tuned_from * schedule.steps else pipe.unet
        predicted = unet(
            doubled.to(dtype),
            step,
            encoder_hidden_states=text,
            **(seen if number < schedule.donor_until * schedule.steps else unseen),
        ).sample.float()
        free, prompted = predicted.chunk(2)
        latents = solver.step(free + schedule.guidance * (prompted - free), step, latents).prev_sample
    return latents


def _conditions(pipe: Any, rows: Sequence[Drawing], side: int, guide_donor: bool) -> dict[str, Any]:
    """Return the UNet's arguments for the donors of ``rows``, in both halves of classifier-free guidance."""
    import torch

    if not has_adapter(pipe):
        return {}
    width = pipe.image_encoder.config.projection_dim
    donors = torch.stack([torch.zeros(width) if row.donor is None else row.donor.cpu() for row in rows])
    weights = torch.tensor([0.0 if row.donor is None else row.donor_weight for row in rows])
    embeddings = torch.cat([torch.zeros_like(donors) if guide_donor else donors, donors])
    return donor_arguments(
        embeddings.to(pipe.device, pipe.unet.dtype), torch.cat([weights, weights]).to(pipe.device), side
    )


def make_solver(pipe: Any, name: SchedulerName) -> Any:
    """Return the diffusers scheduler called ``name``, on the noise schedule of the pipeline's checkpoint."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    if name == "ddim":
        return DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
    )


def _decode(pipe: Any, latents: Tensor) -> np.ndarray:
    import torch

    scaled = latents / pipe.vae.config.scaling_factor + float(pipe.vae.config.get("shift_factor") or 0)
    parts = [pipe.vae.decode(part).sample for part in scaled.to(pipe.vae.dtype).split(DECODED_AT_ONCE)]
    pixels = torch.cat(parts).float().clamp(-1, 1)
    return ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
