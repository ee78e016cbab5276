"""Photos to train or fit a method on, and photos as tensors of the size a small network works at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mema.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def fit_parser(description: str | None, components: int) -> argparse.ArgumentParser:
    """Return the command line of what fits a code of faces, by default of as many ``components``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--components", type=int, default=components)
    parser.add_argument("--side", type=int, default=48, help="pixels of the photos that the code describes")
    parser.add_argument("--every", type=int, default=1, help="take every so many photos")
    return parser


def load_photos(source: Path) -> np.ndarray:
    """Return uint8 (N, H, W, 3) of a release (its training split), an image set or an ``.npy`` file.

    UserError when ``source`` is none of the three.
    """
    from mema.imageset import MARKER, ImageSet
    from mema.release import FILE, Release

    if source.suffix == ".npy" and source.is_file():
        photos: np.ndarray = np.load(source, mmap_mode="r", allow_pickle=False)
        if photos.dtype != np.uint8 or photos.ndim != 4 or photos.shape[3] != 3:
            raise UserError(f"{source}: not uint8 photos (N, H, W, 3)")
        return photos
    if (source / FILE).is_file():
        return Release.open(source).imageset("train").images()
    if (source / MARKER).is_file():
        return ImageSet.open(source).images()
    raise UserError(f"{source}: neither a release, an image set nor an .npy file of photos")


def flat_photos(photos: np.ndarray, side: int, block: int = 256) -> np.ndarray:
    """Return ``photos``, uint8 (N, H, W, 3), at ``side`` px and flat: float32 (N, 3 * side * side) in [0, 1]."""
    from mema.classifier import as_tensor

    parts = [np.zeros((0, 3 * side * side), np.float32)]
    for start in range(0, len(photos), block):
        parts.append(reduced(as_tensor(photos[start : start + block]), side).flatten(1).numpy())
    return np.concatenate(parts)


def reduced(images: Tensor, side: int) -> Tensor:
    """Return ``images``, float (N, 3, H, W), as squares of ``side`` px, smoothed before."""
    from torch.nn import functional

    return functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)


def enlarged(image: np.ndarray, height: int, width: int, rounds: int = 8) -> np.ndarray:
    """Return ``image``, float32 (3, S, S), as float32 (height, width, 3) of which ``reduced`` makes ``image`` again.

    Plain interpolation would blur it: what one round loses, the next adds (Landweber 1951). It is linear in ``image``,
    so that a change which was enlarged and added to a photo can be taken from it again.
    """
    import torch
    from torch.nn import functional

    wanted = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None]
    side = wanted.shape[-1]
    large = torch.zeros(1, 3, height, width)
    for _ in range(rounds):
        lost = wanted - reduced(large, side)
        large = large + functional.interpolate(lost, (height, width), mode="bilinear", align_corners=False)
    return large[0].permute(1, 2, 0).numpy()


def with_change(photo: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return ``photo``, uint8 (H, W, 3), plus the enlarged ``change``, float32 (3, S, S) in shares of white: uint8."""
    shown = photo.astype(np.float32) / 255 + enlarged(change, *photo.shape[:2])
    pixels: np.ndarray = np.rint(shown.clip(0, 1) * 255).astype(np.uint8)
    return pixels
