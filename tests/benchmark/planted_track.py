"""A track from outside, as its author would write it: how bright images are."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.tracks.protocol import Measured, Sample, Stated
from mema.files import read_json, write_json
from mema.release import Release
from mema.result import Interval


class Brightness:
    """Brightness of an image, of the redder half of images, and of the brightest."""

    title: ClassVar[str] = "Light"
    table: ClassVar[str] = "Table 0"
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition("brightness", "Brightness", True, True, "Mean of all channels, of white."),
        Definition("brightest", "Brightest", True, True, "The brightest image.", whole=False, stated=True),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self.seed = config.seed

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        write_json(folder / "scale.json", 255)
        return {"brightness": 0.125}

    def measure(self, sample: Sample, folder: Path) -> Measured:
        images = sample.images.images() / read_json(folder / "scale.json")
        light = np.where(sample.failed, 0.0, images.mean(axis=(1, 2, 3)))
        red = images[..., 0].mean(axis=(1, 2)) >= images[..., 2].mean(axis=(1, 2))
        brightest = float(light.max())
        return Measured(
            {"brightness": light, "brightness.red": np.where(red, light, np.nan)},
            {"brightest.image": Stated(brightest, Interval(low=brightest, high=1.0))},
        )
