"""What a method costs: images a second and memory in its own process, and how many numbers its networks have learnt.

The only metrics that depend on the machine, which the result names. They are measured once and kept beside the method's
images, so that a rerun states the same.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.deidentify import image_key
from benchmark.remember import remembered
from benchmark.tracks.protocol import Measured, Sample, Stated
from mema.files import hardware
from mema.imageset import ImageSet
from mema.release import Release
from mema.result import Interval

if TYPE_CHECKING:
    from benchmark.method_process import MethodProcess

# Its name in ``TRACKS``.
COST = "cost"

ROUNDS, ROUND_SECONDS, MOST_SECONDS = 3, 1.0, 10.0
MEBIBYTE = 2**20


class Timing(BaseModel):
    """``seconds`` of each round of ``images``; ``memory`` is the peak in bytes; ``parameters`` may be unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    images: int = Field(ge=1)
    seconds: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, max_length=ROUNDS)
    memory: int = Field(ge=0)
    parameters: int | None = Field(default=None, ge=0)


class Cost:
    """The track whose numbers come from the method's process: a folder of images has none of them."""

    title: ClassVar[str] = "Cost"
    table: ClassVar[str] = ""
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "images_per_second",
            "Images/s",
            True,
            False,
            "How many photos a second the method de-identifies, in batches, on the machine that the result names. The "
            "interval is that of a few seconds of one day.",
            highest=float("inf"),
            stated=True,
        ),
        Definition(
            "memory",
            "Memory (MiB)",
            False,
            False,
            "The most that the method's process held at once, libraries and all, or a program that it started.",
            highest=float("inf"),
            stated=True,
        ),
        Definition(
            "parameters",
            "Parameters (M)",
            False,
            False,
            "How many numbers the method's networks have learnt, in millions, as the method itself says.",
            highest=float("inf"),
            stated=True,
        ),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        """Take nothing: there is nothing to set."""

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Return nothing: no method makes the untouched originals."""
        return {}

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Return nothing: images do not show what they cost."""
        return Measured({})


def cost_of(process: MethodProcess, originals: ImageSet, path: Path, config: BenchmarkConfig) -> dict[str, Stated]:
    """Return what the method in ``process`` costs, by metric, on photos of ``originals``; ``path`` keeps it.

    Empty where it gives no answer. Raises UserError with what is missing on this machine.
    """
    identity = {
        "method": process.description.model_dump(),
        "originals": originals.digest,
        "batch_size": config.batch_size,
        "hardware": hardware(),
    }
    kept = remembered(path, identity, lambda: _ask(process, originals, config))
    return {} if kept is None else stated_of(Timing.model_validate(kept))


def stated_of(timing: Timing) -> dict[str, Stated]:
    """Return the metrics of ``timing``; of two rounds and more the speed has Student's interval."""
    from scipy.stats import t

    seconds = np.array(timing.seconds)
    mean, interval = float(seconds.mean()), None
    if len(seconds) > 1:
        half = float(t.ppf(0.975, len(seconds) - 1) * seconds.std(ddof=1) / len(seconds) ** 0.5)
        # So few rounds may leave room for no time at all: then it is as fast as the fastest.
        fastest = mean - half if half < mean else float(seconds.min())
        interval = Interval(low=timing.images / (mean + half), high=timing.images / fastest)
    stated = {
        "images_per_second": Stated(timing.images / mean, interval),
        "memory": Stated(timing.memory / MEBIBYTE),
    }
    if timing.parameters is not None:
        stated["parameters"] = Stated(timing.parameters / 1e6)
    return stated


def measure(method: Any, images: np.ndarray, keys: Sequence[str], seed: int, batch_size: int) -> dict[str, Any]:
    """Return the fields of the ``Timing`` of ``method``, in the process that this is called in.

    ``images``, uint8 (N, H, W, 3), are de-identified in turn in whole batches of ``batch_size``, or all at once where
    they are fewer. After one image to warm up come ``ROUNDS`` rounds of a batch, or of so many as take a second; no
    round begins after ``MOST_SECONDS``. Whatever the method raises is passed on.
    """
    images, size = images.copy(), min(batch_size, len(images))
    starts = cycle(range(0, len(images) - size + 1, size))

    def one_round(batches: int) -> float:
        begun = perf_counter()
        for start in islice(starts, batches):
            method.deidentify(images[start : start + size], keys=list(keys[start : start + size]), seed=seed)
        return perf_counter() - begun

    method.deidentify(images[:1], keys=list(keys[:1]), seed=seed)
    batches, seconds = 1, [one_round(1)]
    if seconds[0] < ROUND_SECONDS:
        batches, seconds = ceil(ROUND_SECONDS / max(seconds[0], 1e-4)), []
    while len(seconds) < ROUNDS and sum(seconds) < MOST_SECONDS:
        seconds.append(one_round(batches))
    count = getattr(method, "parameter_count", None)
    return {
        "images": size * batches,
        "seconds": seconds,
        "memory": peak_memory(),
        "parameters": None if count is None else int(count),
    }


def peak_memory() -> int:
    """Return the most bytes that this process, or any program it started that has ended, held in memory at once."""
    unit = 1 if sys.platform == "darwin" else 1024
    programs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux getrusage counts the parent's memory too, as it was when this process was started.
        words = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:")).split()
        return max(int(words[1]) * 1024, programs)
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, programs)


def _ask(process: MethodProcess, originals: ImageSet, config: BenchmarkConfig) -> dict[str, Any] | None:
    faces = list(islice(originals.faces(), ROUNDS * config.batch_size))
    keys = [image_key(face.record, config.seed) for face in faces]
    answer = process.cost(np.stack([face.image for face in faces]), keys, config.seed, config.batch_size)
    try:
        return None if answer is None else Timing.model_validate(answer).model_dump()
    except ValidationError:
        # Foreign code lives in that process: an answer without form is none.
        return None
