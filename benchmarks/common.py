"""What the benchmarks share: faces to work on, clocks, the machine in words, and their section in the documentation."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from mema.diffusion.checkpoint import Precision
from mema.errors import UserError
from mema.files import atomic_write, git_hash, hardware

if TYPE_CHECKING:
    import torch

DISTINCT_FACES = 8
PAPER_IMAGES = 42_307
"""MeMa's data set."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark accepts."""
    made = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    made.add_argument("--checkpoint", default="phantom-sd", help="name of weights or folder (default: phantom-sd)")
    made.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    made.add_argument("--size", type=int, default=128, help="side of an image in pixels (default: 128)")
    made.add_argument("--threads", type=int, help="threads of a CPU (default: torch's own)")
    made.add_argument("--rounds", type=int, default=3, help="repeats; the fastest counts (default: 3)")
    made.add_argument("--write", type=Path, metavar="FILE", help="put the table into its section of this file too")
    return made


def start(arguments: argparse.Namespace) -> str:
    """Set the number of threads and return the device to run on."""
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")


def precisions(device: str, wanted: Sequence[Precision] | None) -> list[Precision]:
    """Return ``wanted``, or else float32 and, where the device multiplies it natively, bf16."""
    from mema.classifier import fast_bfloat16

    if wanted:
        return list(wanted)
    return ["no", "bf16"] if device != "cpu" or fast_bfloat16() else ["no"]


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the type that a precision stands for."""
    import torch

    return {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def faces(count: int, size: int) -> np.ndarray:
    """Return ``count`` photos of rendered donors, uint8 (N, size, size, 3), of which eight are different."""
    from PIL import Image

    from generation.phantom.population import draw_donor
    from generation.phantom.render import render

    photos = []
    for index in range(min(count, DISTINCT_FACES)):
        case = draw_donor(index, 0)
        photo = render(case.subject, case.shots[0], case.finding, 128).image
        photos.append(np.asarray(Image.fromarray(photo).resize((size, size))))
    return np.stack([photos[index % len(photos)] for index in range(count)])


def clock(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Return the seconds that ``work`` takes, with what the device still has to do of it, and its result."""
    import torch

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    wait()
    before = perf_counter()
    result = work()
    wait()
    return perf_counter() - before, result


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a large matrix product: the best of ten."""
    import torch

    side = 1024 if device == "cpu" else 8192
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    left @ right
    return 2 * side**3 / min(clock(lambda: left @ right, device)[0] for _ in range(10))


def count_operations(work: Callable[[], Any]) -> int:
    """Return the floating-point operations of the matrix products, convolutions and attentions in ``work``."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def machine(device: str) -> str:
    """Describe hardware and versions in a line that names no host."""
    import diffusers
    import torch

    if device == "cpu":
        hardware_words = f"{hardware()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    else:
        hardware_words = torch.cuda.get_device_name(device)
    commit = (git_hash() or "no git")[:12]
    return f"{hardware_words}; torch {torch.__version__}, diffusers {diffusers.__version__}; commit {commit}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_section(file: Path, name: str, text: str) -> None:
    """Put ``text`` under a heading between the markers of ``name`` in a Markdown file; without markers, at its end."""
    begin, end = f"<!-- {name}: begin, written by benchmarks/ -->", f"<!-- {name}: end -->"
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    content = file.read_text(encoding="utf-8")
    section = f"{begin}\n### {name}\n{text}\n{end}"
    if begin in content and end in content:
        before, after = content.split(begin)[0], content.split(end)[1]
        atomic_write(file, before + section + after)
    else:
        atomic_write(file, f"{content.rstrip()}\n\n{section}\n")
