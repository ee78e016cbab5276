"""Samples a second: batches of rows with their own donors and weights, against a plain pipeline called for each image.

    python -m benchmarks.sampling --device cpu --checkpoint phantom-sd --batch 8 --size 128

Both sides have the same weights, scheduler, steps, guidance, prompts, donors, donor weights and noise; how far their
pictures differ is printed beside the speed. The rival is what a user of diffusers would write: one call of
``StableDiffusionPipeline`` an image, with ``set_ip_adapter_scale`` before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks import common
from mema.diffusion.checkpoint import (
    Generator,
    Precision,
    encode_faces,
    find_adapter,
    load_pipeline,
    lora_file,
    tuned_unet,
)
from mema.diffusion.sampling import Drawing, Schedule, compile_unet, make_solver, sample
from mema.errors import run_script
from mema.taxonomy import load_taxonomy
from mema.weights import find_weights

if TYPE_CHECKING:
    import argparse

    from torch import Tensor

CLINIC = "eye_clinic"
WEIGHTS = (0.2, 0.4)


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure both sides in each precision and print a table."""
    arguments = parse(command_line)
    device = common.start(arguments)
    donors = common.faces(arguments.images, arguments.size)
    measured = [
        line
        for precision in common.precisions(device, arguments.precision)
        for line in measure(arguments, device, precision, donors)
    ]
    first = measured[0]
    header = ["sampler", "precision", "images/s", "ratio, same precision", f"ratio to plain at {first.precision}"]
    header += ["mean difference", "largest", "of the matrix peak", f"hours for {common.PAPER_IMAGES:,}"]
    rows = [
        [
            line.side,
            line.precision,
            f"{line.rate:.3g}",
            f"{line.rate / line.plain_rate:.2f}",
            f"{line.rate / first.rate:.2f}",
            *difference(line.images, first.images),
            f"{line.share:.0%}",
            f"{common.PAPER_IMAGES / line.rate / 3600:.1f}",
        ]
        for line in measured
    ]
    checkpoint = Path(arguments.checkpoint).name
    what = (
        f"`{checkpoint}` at {arguments.size} px, {arguments.steps} steps, guidance {arguments.guidance:g}, "
        f"batch {arguments.batch}, {arguments.images} images; {common.machine(device)}. Differences are "
        "those to the first row's pictures, in grey levels of 255."
    )
    text = f"{what}\n\n{common.table(header, rows)}"
    print(text)
    if arguments.write:
        common.write_section(arguments.write, f"Sampling: {checkpoint} on {device}", text)


class Line(NamedTuple):
    """One side in one precision: images a second, also of its rival; what it made; its share of the matrix peak."""

    side: str
    precision: str
    rate: float
    plain_rate: float
    images: np.ndarray
    share: float


def measure(arguments: argparse.Namespace, device: str, precision: Precision, donors: np.ndarray) -> Iterator[Line]:
    """Yield the lines of one precision, the plain pipeline's first."""
    ours = load_pipeline(generator(arguments), device=device, precision=precision)
    plain = load_plain(arguments, device, precision)
    drawings = draw(ours, donors)
    work = operations(ours, drawings[:1], arguments)
    peak = common.matrix_peak(device, common.dtype_of(precision))
    plainly = partial(sample_plainly, plain, drawings, donors, arguments)
    in_batches = partial(sample_batches, ours, drawings, donors, arguments)
    results = race({"plain diffusers": plainly, "ours": in_batches}, device, arguments.rounds)
    if arguments.compile:
        compile_unet(ours)
        results |= race({"ours, compiled": in_batches}, device, arguments.rounds)
    plain_rate = len(donors) / results["plain diffusers"][0]
    for side, (seconds, images) in results.items():
        rate = len(donors) / seconds
        yield Line(side, precision, rate, plain_rate, images, work * rate / peak)


def difference(images: np.ndarray, others: np.ndarray) -> tuple[str, str]:
    """Return the mean and the largest difference in grey levels."""
    levels = np.abs(images.astype(int) - others)
    return f"{levels.mean():.2f}", f"{levels.max()}"


def parse(command_line: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = common.parser(__doc__)
    parser.add_argument("--adapter", default="phantom-ip-adapter", help="its IP-Adapter (default: phantom-ip-adapter)")
    parser.add_argument("--adapter-file", help="which file of the adapter's models/, if it has several")
    parser.add_argument("--tuned", help="LoRA or fine-tuned UNet, merged on both sides")
    parser.add_argument("--batch", type=int, default=8, help="rows at a time of ours (default: 8)")
    parser.add_argument("--images", type=int, default=16, help="images to make on each side (default: 16)")
    parser.add_argument("--steps", type=int, default=20, help="steps of the scheduler (default: 20)")
    parser.add_argument("--guidance", type=float, default=3.0, help="classifier-free scale (default: 3)")
    parser.add_argument("--scheduler", choices=("dpm", "ddim"), default="dpm")
    parser.add_argument("--precision", nargs="+", choices=("no", "bf16", "fp16"), help="(default: all that are fast)")
    parser.add_argument("--compile", action="store_true", help="measure ours with torch.compile, too")
    return parser.parse_args(command_line)


def generator(arguments: argparse.Namespace) -> Generator:
    """Return the weights that both sides sample with."""
    return Generator(arguments.checkpoint, arguments.tuned, arguments.adapter, arguments.adapter_file)


def load_plain(arguments: argparse.Namespace, device: str, precision: Precision) -> Any:
    """Return the rival as diffusers' documentation builds it, on the weights and the scheduler of ours."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    whole = None if arguments.tuned is None else tuned_unet(arguments.tuned)
    parts = {} if whole is None else {"unet": UNet2DConditionModel.from_pretrained(whole)}
    folder = find_weights(arguments.checkpoint)
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True, **parts)
    file = find_adapter(arguments.adapter, arguments.adapter_file)
    pipe.load_ip_adapter(
        str(file.parents[1]),
        subfolder="models",
        weight_name=file.name,
        image_encoder_folder="image_encoder",
        local_files_only=True,
    )
    if arguments.tuned is not None and whole is None:
        lora = lora_file(arguments.tuned)
        pipe.load_lora_weights(str(lora.parent), weight_name=lora.name)
        pipe.fuse_lora()
        pipe.unload_lora_weights()
    pipe.scheduler = make_solver(pipe, arguments.scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device, common.dtype_of(precision))


def draw(pipe: Any, donors: np.ndarray) -> list[Drawing]:
    """Return a row for each donor: the clinic's prompts in turn, weights spread over MeMa's range."""
    clinic = load_taxonomy(CLINIC)
    prompts = [clinic.prompt(code, level) for code in clinic.codes for level in clinic.levels]
    weights = np.linspace(*WEIGHTS, len(donors))
    embedded = encode_faces(pipe, donors)
    return [
        Drawing(prompts[number % len(prompts)], number, donor, float(weight))
        for number, (donor, weight) in enumerate(zip(embedded, weights, strict=True))
    ]


def sample_batches(
    pipe: Any, drawings: Sequence[Drawing], donors: np.ndarray, arguments: argparse.Namespace
) -> np.ndarray:
    """Our side, which embeds the donors within the time, too."""
    embedded = encode_faces(pipe, donors)
    rows = [row._replace(donor=donor) for row, donor in zip(drawings, embedded, strict=True)]
    schedule = Schedule(arguments.steps, arguments.guidance, solver=arguments.scheduler)
    return sample(pipe, rows, size=arguments.size, schedule=schedule, batch=arguments.batch)


def sample_plainly(
    pipe: Any, drawings: Sequence[Drawing], donors: np.ndarray, arguments: argparse.Namespace
) -> np.ndarray:
    """The rival: a call of the pipeline for each image."""
    from PIL import Image

    images = []
    for row, donor in zip(drawings, donors, strict=True):
        pipe.set_ip_adapter_scale(row.donor_weight)
        made = pipe(
            row.prompt,
            ip_adapter_image=Image.fromarray(donor),
            latents=noise(pipe, row.seed, arguments.size),
            height=arguments.size,
            width=arguments.size,
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance,
        )
        images.append(np.asarray(made.images[0]))
    return np.stack(images)


def noise(pipe: Any, seed: int, side: int) -> Tensor:
    """Return the noise that our side draws for ``seed``, for the rival to start from."""
    import torch

    shape = (1, pipe.unet.config.in_channels, side // pipe.vae_scale_factor, side // pipe.vae_scale_factor)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(pipe.device, pipe.unet.dtype)


def race(sides: dict[str, Callable[[], np.ndarray]], device: str, rounds: int) -> dict[str, tuple[float, np.ndarray]]:
    """Return each side's fastest time and its images; the sides take turns, after one round that does not count."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    images = {side: work() for side, work in sides.items()}
    for _ in range(rounds):
        for side, work in sides.items():
            times[side].append(common.clock(work, device)[0])
    return {side: (min(times[side]), images[side]) for side in sides}


def operations(pipe: Any, drawings: Sequence[Drawing], arguments: argparse.Namespace) -> int:
    """Return the floating-point operations of one image: the UNet twice a step, and the VAE."""
    schedules = (Schedule(steps, arguments.guidance, solver=arguments.scheduler) for steps in (1, 2))
    one, two = (
        common.count_operations(partial(sample, pipe, drawings, size=arguments.size, schedule=schedule))
        for schedule in schedules
    )
    return one + (two - one) * (arguments.steps - 1)


if __name__ == "__main__":
    run_script(main)
