r"""The population that k-same averages: donors' faces in one pose, as one file.

    python -m baselines.k_same.gallery --images runs/demo/donors --out runs/gallery.safetensors

``--images`` is a release (its training split), an image set, or an ``.npy`` file of uint8 photos (N, H, W, 3). Faces
that the detector misses are left out. The shipped ``phantom-gallery`` holds 160 donors of the phantom world.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from baselines.face_region import Similarity, face_mask
from baselines.photos import load_photos
from mema.errors import UserError, run_script

MARGIN = 0.06
"""What is left free round the face in the standard pose, as a share of the side."""

QUALITY = 85
MAX_FACES = 20_000


class Gallery(NamedTuple):
    """``faces`` is uint8 (N, S, S, 3), aligned to ``pose``, the 68 mean landmarks float32 (68, 2) in pixels."""

    faces: np.ndarray
    pose: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Return the face in the standard pose, bool (S, S)."""
        side = self.faces.shape[1]
        return face_mask(self.pose, side, side)


def make_gallery(photos: np.ndarray, *, faces: int, side: int) -> Gallery:
    """Align the first ``faces`` of ``photos``, uint8 (N, H, W, 3), in which a face is found, to their mean pose.

    UserError when there are fewer than two.
    """
    from mema.faces.detector import landmarks

    found: list[np.ndarray] = []
    images: list[np.ndarray] = []
    for photo in photos:
        if len(found) == faces:
            break
        points = landmarks(photo[None])[0]
        if np.isfinite(points).all():
            found.append(points)
            images.append(np.array(photo))
    if len(found) < 2:
        raise UserError("a gallery needs photos with at least two faces that the detector sees")
    pose = standard_pose(np.stack(found), side)
    aligned = [
        Similarity.between(points, pose).warp(image, side, side) for points, image in zip(found, images, strict=True)
    ]
    return Gallery(np.stack(aligned), pose)


def standard_pose(points: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of the shapes ``points`` (N, 68, 2) after alignment, so that its face fills a square of ``side``.

    Alignment to the first shape, then once more to the mean (generalised Procrustes, Gower 1975).
    """
    reference = points[0]
    for _ in range(2):
        reference = np.mean([Similarity.between(shape, reference).apply(shape) for shape in points], axis=0)
    rows, columns = np.nonzero(face_mask(reference - reference.min(axis=0) + 200, 1000, 1000))
    low = np.array([columns.min(), rows.min()]) - 200 + reference.min(axis=0)
    extent = np.array([np.ptp(columns), np.ptp(rows)]) + 1
    scale = side * (1 - 2 * MARGIN) / extent.max()
    return ((reference - low - extent / 2) * scale + side / 2).astype(np.float32)


def save_gallery(gallery: Gallery, path: Path, origin: str) -> None:
    """Write the faces as JPEG bytes inside safetensors, with where they come from; atomic."""
    from safetensors.numpy import save

    from mema.files import atomic_write

    encoded = [_encode(face) for face in gallery.faces]
    tensors: dict[str, np.ndarray] = {
        "faces": np.frombuffer(b"".join(encoded), np.uint8),
        "ends": np.cumsum([len(one) for one in encoded]).astype(np.int64),
        "pose": gallery.pose,
    }
    atomic_write(path, save(tensors, metadata={"origin": origin}))


def load_gallery(path: Path) -> Gallery:
    """Read what ``save_gallery`` wrote; UserError when it is something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        content, ends, pose = tensors["faces"].tobytes(), tensors["ends"].tolist(), tensors["pose"]
        if len(ends) > MAX_FACES:
            raise ValueError("too many faces")
        faces = [_decode(content[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return Gallery(np.stack(faces), pose.reshape(68, 2))
    except (SafetensorError, KeyError, ValueError, OSError):
        raise UserError(f"{path}: not a gallery") from None


def _encode(face: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()


def _decode(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        if max(image.size) > 1024:
            raise ValueError("a face larger than 1024 px")
        return np.array(image.convert("RGB"))


def main() -> None:
    """Parse the command line and write a gallery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=160, help="how many at most")
    parser.add_argument("--side", type=int, default=96, help="pixels of a face")
    parser.add_argument("--every", type=int, default=1, help="take every so many photos: several may show one donor")
    given = parser.parse_args()
    photos = load_photos(given.images)[:: given.every]
    gallery = make_gallery(photos, faces=given.faces, side=given.side)
    save_gallery(gallery, given.out, origin=given.images.name)
    print(f"{given.out}: {len(gallery.faces)} faces, {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    run_script(main)
