"""Lesion segmentation: how well nnU-Net, trained on originals, still outlines the lesion (MeMa Table 3, right half).

Only images whose disease is one of ``SegmentationConfig.diseases`` and that have a mask have scores. The paper calls
its subset one of SCC in the method and one of BCC in the experiments; the default is BCC.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click
import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.tracks.protocol import Measured, Sample
from mema.errors import UserError
from mema.files import read_json, write_json
from mema.imageset import Face, ImageSet
from mema.release import Release
from mema.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from benchmark.tracks.nnunet import Outliner

TRAINING, REPORT = "training.json", "segmentation.json"
METRICS = ("dice", "jaccard")


class Segmentation:
    """Dice and Jaccard of nnU-Net's outlines, the mean of networks that differ in their seed alone."""

    title: ClassVar[str] = "Lesion segmentation"
    table: ClassVar[str] = "Table 3"
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "dice",
            "Dice",
            True,
            False,
            "Overlap of the annotated lesion with the one that an nnU-Net trained on originals outlines in the "
            "de-identified image (MeMa, Table 3); and in the original, and in the image opened with the right key. "
            "Of images with a mask alone.",
        ),
        Definition("jaccard", "Jaccard", True, False, "The same as intersection over union."),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self._settings = config.segmentation
        self._seeds = [config.seed + number for number in range(config.segmentation.repeats)]

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Train on the training split; the floor is the standard deviation of the networks' means over the originals.

        Of a release without masks nothing is measured, and one line says so. UserError for a disease that the clinic
        does not know, or without nnU-Net.
        """
        for disease in self._settings.diseases:
            load_taxonomy(release.clinic).disease(disease)
        train, validation = (release.imageset(split) for split in ("train", "validation"))
        training = {
            **self._settings.model_dump(mode="json"),
            "seeds": self._seeds,
            "train": train.digest,
            "nnunetv2": _nnunet_version(),
        }
        identity = {**training, "validation": validation.digest}
        if (folder / REPORT).is_file() and (report := read_json(folder / REPORT))["identity"] == identity:
            return dict(report["noise"])
        if (folder / TRAINING).is_file() and read_json(folder / TRAINING) != training:
            shutil.rmtree(folder)
        write_json(folder / TRAINING, training)

        learnt, shown = self._with_lesion(train), self._with_lesion(validation)
        noise: dict[str, float] = {}
        originals: dict[str, dict[str, float]] = {}
        if learnt and shown:
            from tqdm import tqdm

            from benchmark.tracks.nnunet_training import train as train_networks

            limits = {"epochs": self._settings.epochs, "iterations": self._settings.iterations}
            train_networks(learnt, folder, seeds=self._seeds, **limits)
            outliners = self._outliners(folder)
            seen = tqdm(shown, desc="originals", unit="image")
            reached = np.stack([overlaps(outliners, face.image, face.mask) for face in seen])
            for face, means in zip(shown, reached.mean(axis=1), strict=True):
                originals[face.record.image_id] = dict(zip(METRICS, means.tolist(), strict=True))
            if len(outliners) > 1:
                noise = dict(zip(METRICS, reached.mean(axis=0).std(axis=0, ddof=1).tolist(), strict=True))
        else:
            lacking = "validation" if learnt else "training"
            kinds = " or ".join(self._settings.diseases)
            click.echo(f"segmentation: not measured, the {lacking} split has no mask of {kinds}", err=True)
        write_json(folder / REPORT, {"identity": identity, "noise": noise, "originals": originals})
        return noise

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Compare outlines with masks; a failed image scores 0, and one without a mask has no score."""
        from tqdm import tqdm

        originals = read_json(folder / REPORT)["originals"]
        if not originals:
            return Measured({})
        parts = ["", ".original"] if sample.recovered is None else ["", ".original", ".recovered"]
        columns = {f"{name}{part}": np.full(len(sample.failed), np.nan) for name in METRICS for part in parts}
        outliners = self._outliners(folder)
        opened = repeat(None) if sample.recovered is None else sample.recovered.faces()
        rows = zip(sample.originals.faces(), sample.images.faces(), opened, sample.failed, strict=False)
        with tqdm(total=len(originals), desc="segmentation", unit="image") as bar:
            for row, (original, changed, recovered, failed) in enumerate(rows):
                known = originals.get(original.record.image_id)
                if known is None:
                    continue
                shown = {"": changed, ".recovered": recovered}
                found = {part: face.image for part, face in shown.items() if face is not None}
                for name in METRICS:
                    columns[f"{name}.original"][row] = known[name]
                for part, image in found.items():
                    means = np.zeros(len(METRICS)) if failed else overlaps(outliners, image, original.mask).mean(axis=0)
                    for name, value in zip(METRICS, means, strict=True):
                        columns[f"{name}{part}"][row] = value
                bar.update()
        return Measured(columns)

    def _with_lesion(self, imageset: ImageSet) -> list[Face]:
        return [
            face
            for face in imageset.faces()
            if face.record.disease in self._settings.diseases and face.mask is not None and face.mask.any()
        ]

    def _outliners(self, folder: Path) -> list[Outliner]:
        from benchmark.tracks.nnunet import Outliner

        return [Outliner(folder, number) for number in range(len(self._seeds))]


def overlaps(outliners: Sequence[Outliner], image: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Return Dice and Jaccard (R, 2) of what each network outlines in ``image``, uint8 (H, W, 3), with ``truth``."""
    assert truth is not None
    return np.array([overlap(outliner.outline(image), truth) for outliner in outliners])


def overlap(outline: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return Dice and Jaccard, in [0, 1], of an outline with the ``truth``, which is not empty, both bool (H, W)."""
    both, either = np.count_nonzero(outline & truth), np.count_nonzero(outline | truth)
    return 2 * both / (either + both), both / either


def _nnunet_version() -> str:
    try:
        return version("nnunetv2")
    except PackageNotFoundError:
        raise UserError("the track 'segmentation' needs nnU-Net: pip install 'openmema[segmentation]'") from None
