"""The shortcut test: is the disease in the picture, or a signal that only the judge reads (ALGORITHMS §7)?

A method trained against a network can hide in the pixels what that network wants to see. Such a signal does not
outlive what any photo outlives (JPEG, resizing, denoising), nor does a reader of another family see it. So disease
top-1 is read again after these, and compared with how much the *originals* lose.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from benchmark.ridge import Ridge, fit_ridge
from benchmark.tracks import disease

if TYPE_CHECKING:
    from mema.classifier import Classifier

SIDE, CELLS, DIRECTIONS = 64, 8, 8


def _jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream).convert("RGB")


def _resize(image: Image.Image) -> Image.Image:
    width, height = image.size
    small = image.resize((width * 2 // 3, height * 2 // 3), Image.Resampling.BILINEAR)
    return small.resize((width, height), Image.Resampling.BILINEAR)


WASHINGS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": _jpeg,
    "resize": _resize,
    "denoise": lambda image: image.filter(ImageFilter.MedianFilter(3)),
}


class Reader(NamedTuple):
    """A reader of diseases that shares nothing with a network: oriented gradients and colours of cells, and ridge."""

    map: Ridge
    classes: tuple[str, ...]


def fit_reader(images: np.ndarray, diseases: Sequence[str], classes: Sequence[str]) -> Reader:
    """Fit a reader to ``images``, uint8 (N, H, W, 3); each disease that occurs weighs the same."""
    wanted = (np.asarray(diseases)[:, None] == np.asarray(classes)[None, :]).astype(float)
    counts = wanted.sum(axis=0)
    return Reader(fit_ridge(describe(images), wanted / np.sqrt(np.maximum(counts, 1))), tuple(classes))


def describe(images: np.ndarray) -> np.ndarray:
    """Return the descriptors (N, 1280) of ``images``: histograms of oriented gradients (Dalal and Triggs 2005, cells of
    8 of 64 px, 8 unsigned directions, each cell normalised) and mean colours on a grid of 16 x 16."""
    small = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BOX)) for one in images])
    pixels = small.astype(np.float64) / 255
    down, right = np.gradient(pixels.mean(axis=3), axis=(1, 2))
    strength, direction = np.hypot(down, right), np.arctan2(down, right) % np.pi
    bins = np.minimum((direction / np.pi * DIRECTIONS).astype(int), DIRECTIONS - 1)
    votes = np.where(bins[..., None] == np.arange(DIRECTIONS), strength[..., None], 0.0)
    histograms = _cells(votes, SIDE // CELLS)
    histograms /= np.linalg.norm(histograms, axis=3, keepdims=True) + 0.01
    colours = _cells(pixels, SIDE // 16)
    return np.concatenate([histograms.reshape(len(images), -1), colours.reshape(len(images), -1)], axis=1)


def readings(
    classifiers: Sequence[Classifier], reader: Reader, batches: Iterable[np.ndarray], diseases: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return how far the disease of each image is recognised, in [0, 1], (N,), by each judge and after each washing.

    ``judge-<n>`` is one of ``classifiers``, ``plain`` their mean; ``jpeg``, ``resize`` and ``denoise`` are their means
    after that, ``encoder`` is what ``reader`` sees. ``batches`` hold the images, uint8 (<= B, H, W, 3), in order.
    """
    from mema.classifier import predict

    parts: dict[str, list[np.ndarray]] = {}
    start = 0
    for images in batches:
        labels = diseases[start : start + len(images)]
        start += len(images)

        def by_judge(photos: np.ndarray, labels: Sequence[str] = labels) -> list[np.ndarray]:
            return [disease.correct(predict(model, photos), model.classes, labels) for model in classifiers]

        plain = by_judge(images)
        read = {f"judge-{number}": column for number, column in enumerate(plain, start=1)}
        read["plain"] = np.mean(plain, axis=0)
        for name, wash in WASHINGS.items():
            washed = np.stack([np.asarray(wash(Image.fromarray(image))) for image in images])
            read[name] = np.mean(by_judge(washed), axis=0)
        read["encoder"] = disease.correct(reader.map(describe(images)), reader.classes, labels)
        for name, column in read.items():
            parts.setdefault(name, []).append(column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def gaps(changed: Mapping[str, np.ndarray], originals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return how much more of its disease an image loses by each washing, or to the other reader, than its original.

    Both are as ``readings`` returns them; each gap is in [-2, 2], (N,). Above zero on the mean: hidden signal.
    """
    return {
        name: (changed["plain"] - changed[name]) - (originals["plain"] - originals[name])
        for name in (*WASHINGS, "encoder")
    }


def _cells(values: np.ndarray, size: int) -> np.ndarray:
    """Return the means (N, rows, columns, C) of ``values`` (N, H, W, C) in cells of ``size`` px."""
    count, height, width, channels = values.shape
    cells: np.ndarray = values.reshape(count, height // size, size, width // size, size, channels).mean(axis=(2, 4))
    return cells
