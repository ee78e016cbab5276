"""Image quality: how much of the photo is left, image by image, and how far the set is from the originals' set.

The reference of each image is its own original, and that of the set all originals. Images in which nothing was hidden
score best, so that none of these numbers says anything of privacy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.tracks.protocol import Measured, Sample, Stated
from mema.files import atomic_write, read_json, write_json
from mema.imageset import ImageSet
from mema.release import Release
from mema.result import Interval

# Whatever the run's batches are: the last bits of a network's answer depend on the size of its batch.
BATCH = 32
PSNR_MOST = 60.0
LPIPS_MOST = 2.0
PHANTOM = "phantom-judge"
# Wang, Simoncelli and Bovik (2003): the weights of the five scales, finest first, and the window of SSIM.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
# KID is about a thousandth of FID, and read in thousandths.
KID_UNIT = 1000.0

NETWORKS = "networks.json"
FEATURES = "originals.safetensors"


class Quality:
    """PSNR, MS-SSIM and perceptual distances of each image, Fréchet and kernel distances of the set."""

    title: ClassVar[str] = "Image quality"
    table: ClassVar[str] = ""
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "psnr",
            "PSNR (dB)",
            True,
            False,
            "Peak signal-to-noise ratio to the original. An equal image would have none; it counts as 60 dB, which is "
            "less than rounding to 8 bits differs from it.",
            highest=PSNR_MOST,
        ),
        Definition(
            "ms_ssim",
            "MS-SSIM",
            True,
            False,
            "Multi-scale structural similarity to the original (Wang et al. 2003), with the usual window of 11 px. "
            "Five scales need photos of 176 px; those of 128 px have the first four, their weights scaled to sum to 1.",
        ),
        Definition(
            "lpips",
            "LPIPS",
            False,
            False,
            "Distance to the original as ImageNet's networks see it (Zhang et al. 2018, v0.1).",
            highest=LPIPS_MOST,
            whole=False,
        ),
        Definition(
            "perceptual",
            "Perceptual distance",
            False,
            False,
            "The same idea without learnt weights, in the features of a network that was trained on phantoms: one "
            "minus their cosine, over places and stages. It is no LPIPS, and says nothing of photographs.",
            whole=False,
        ),
        Definition(
            "fid",
            "FID",
            False,
            False,
            "Fréchet distance between the sets of de-identified and original images in the features of Inception v3 "
            "(Heusel et al. 2017). Of few images it is too large: compare methods, not papers. The interval leaves out "
            "subjects in turn, since repeating them, as a bootstrap does, would raise it.",
            highest=float("inf"),
            stated=True,
        ),
        Definition(
            "kid",
            "KID × 1000",
            False,
            False,
            "Kernel distance between the same sets (Bińkowski et al. 2018), in thousandths, no image compared with its "
            "own original. Not biased by the number of images: it may lie below zero where there is no difference.",
            lowest=float("-inf"),
            highest=float("inf"),
            stated=True,
        ),
        Definition(
            "frechet",
            "Fréchet distance",
            False,
            False,
            "As FID, in the features of the encoder that is named: no FID, and comparable on this board alone.",
            highest=float("inf"),
            whole=False,
            stated=True,
        ),
        Definition(
            "kernel",
            "Kernel distance",
            False,
            False,
            "As KID, in the features of the encoder that is named.",
            lowest=float("-inf"),
            highest=float("inf"),
            whole=False,
            stated=True,
        ),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self._config = config

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Write the originals' features to ``folder``, and which weights the networks are for this clinic."""
        from safetensors.numpy import save

        originals = release.imageset("validation")
        settings = self._config.quality
        networks = networks_for(release.clinic, (*settings.perceptual, *settings.encoders))
        write_json(folder / NETWORKS, networks)
        features = {name: _features(networks[name], originals) for name in settings.encoders}
        atomic_write(folder / FEATURES, save(features))
        untouched = Sample(originals, originals, np.zeros(originals.count, bool))
        return spread(*(self.measure(untouched, folder) for _ in range(2)))

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Measure. Failed images are black in the set, as they were delivered, and worst each by itself."""
        from safetensors.numpy import load_file

        networks = read_json(folder / NETWORKS)
        scores = compare(sample.images, sample.originals, self._config.quality.perceptual, networks)
        features = load_file(folder / FEATURES)
        subjects = [record.subject_id for record in sample.originals.records()]
        stated: dict[str, Stated] = {}
        for name in self._config.quality.encoders:
            stated |= _between_sets(name, features[name], _features(networks[name], sample.images), subjects)
        return Measured(with_worst(scores, sample.failed, self.definitions), stated)


def networks_for(clinic: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return which weights the networks called ``names`` are: the shipped judge's differ between clinics."""
    return {name: f"{PHANTOM}/{clinic}" if name == PHANTOM else name for name in names}


def compare(
    images: ImageSet, originals: ImageSet, perceptual: tuple[str, ...], networks: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Return ``psnr``, ``ms_ssim`` and ``lpips.<network>`` or ``perceptual.<network>``, each float (N,)."""
    from mema.perceptual import LPIPS, perceptual_distance

    measures: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"psnr": psnr, "ms_ssim": ms_ssim}
    for name in perceptual:
        kind = "lpips" if name in LPIPS else "perceptual"
        measures[f"{kind}.{part_of(name)}"] = perceptual_distance(networks[name])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for one, other in zip(images.batches(BATCH), originals.batches(BATCH), strict=True):
        for name, measure in measures.items():
            columns[name].append(measure(one, other).astype(np.float64))
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def psnr(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio (N,) in dB, at most ``PSNR_MOST``, of uint8 (N, H, W, 3)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    from mema.classifier import as_tensor

    pair = as_tensor(images), as_tensor(originals)
    found = peak_signal_noise_ratio(*pair, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return np.minimum(found.numpy(), PSNR_MOST)


def ms_ssim(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Return the multi-scale structural similarity (N,), in [0, 1], of uint8 (N, H, W, 3)."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    from mema.classifier import as_tensor

    weights = scales_for(min(images.shape[1:3]))
    pair = as_tensor(images), as_tensor(originals)
    found = multiscale_structural_similarity_index_measure(
        *pair, data_range=1.0, kernel_size=WINDOW, betas=weights, reduction="none"
    )
    return np.clip(found.numpy(), 0.0, 1.0)


def scales_for(side: int) -> tuple[float, ...]:
    """Return the weights, summing to one, of as many of ``SCALES`` as torchmetrics takes for photos of ``side`` px."""
    count = max(n for n in range(1, len(SCALES) + 1) if n == 1 or side // (n - 1) ** 2 >= WINDOW)
    return tuple(weight / sum(SCALES[:count]) for weight in SCALES[:count])


def part_of(name: str) -> str:
    """Return what a network is called in a score's name."""
    return name.replace("/", "-")


def with_worst(
    scores: Mapping[str, np.ndarray], lost: np.ndarray, definitions: tuple[Definition, ...]
) -> dict[str, np.ndarray]:
    """Return ``scores`` kept to their ranges, the worst of which are given to images that are ``lost``, bool (N,)."""
    by_name = {definition.name: definition for definition in definitions}
    found = {}
    for name, column in scores.items():
        rules = by_name[name.partition(".")[0]]
        worst = rules.lowest if rules.higher_is_better else rules.highest
        found[name] = np.where(lost, worst, np.clip(column, rules.lowest, rules.highest))
    return found


def spread(*runs: Measured) -> dict[str, float]:
    """Return the standard deviation of each metric over ``runs``; of its parts the largest counts."""
    noise: dict[str, float] = {}
    for name in (*runs[0].scores, *runs[0].stated):
        values = [run.stated[name].value if name in run.stated else float(np.nanmean(run.scores[name])) for run in runs]
        metric = name.partition(".")[0]
        noise[metric] = max(noise.get(metric, 0.0), float(np.std(values, ddof=1)))
    return noise


def _features(network: str, images: ImageSet) -> np.ndarray:
    from mema.encoders import encoder

    encode = encoder(network)
    return np.concatenate([encode(batch) for batch in images.batches(BATCH)])


def _between_sets(name: str, originals: np.ndarray, images: np.ndarray, subjects: list[str]) -> dict[str, Stated]:
    """Return both distances of ``images`` from ``originals``, features (N, D), by the encoder called ``name``."""
    from mema.encoders import INCEPTION
    from mema.feature_distances import frechet_distance, kernel_distance
    from mema.statistics import cluster_jackknife

    def stated(distance: Callable[[np.ndarray, np.ndarray], float], unit: float, lowest: float) -> Stated:
        found = cluster_jackknife(lambda rows: unit * distance(originals[rows], images[rows]), subjects)
        return Stated(found.value, Interval(low=max(lowest, found.low), high=found.high))

    if name == INCEPTION:
        return {"fid": stated(frechet_distance, 1.0, 0.0), "kid": stated(kernel_distance, KID_UNIT, -np.inf)}
    return {
        f"frechet.{part_of(name)}": stated(frechet_distance, 1.0, 0.0),
        f"kernel.{part_of(name)}": stated(kernel_distance, 1.0, -np.inf),
    }
