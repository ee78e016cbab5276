"""Promptable segmenters: an image is embedded once, then every click or box on it gives a mask.

Two libraries run them: ``segment_anything`` reads the checkpoints of SAM's authors (a ``.pth`` file), ``transformers``
those in its own layout (a folder with ``config.json``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mema.errors import UserError
from mema.weights import digest, locate, table


class Prompt(NamedTuple):
    """Where an object is, in pixels, centres at integers: ``points`` (x, y), of which ``inside`` says whether each lies
    in the object, and a ``box`` (left, top, right, bottom)."""

    points: tuple[tuple[float, float], ...] = ()
    inside: tuple[bool, ...] = ()
    box: tuple[float, float, float, float] | None = None

    @property
    def ambiguous(self) -> bool:
        """A single click may mean a part or the whole: SAM then offers several masks."""
        return self.box is None and len(self.points) == 1


class Proposal(NamedTuple):
    """A ``mask``, bool (H, W), and the IoU that the segmenter itself expects of it."""

    mask: np.ndarray
    score: float


class Segmenter(Protocol):
    """``version`` names weights and their hash; what ``embed`` returns is for ``segment`` alone and may be kept."""

    version: str

    def embed(self, image: np.ndarray) -> Any:
        """Read an image, uint8 RGB (H, W, 3)."""

    def segment(self, embedding: Any, prompts: Sequence[Prompt]) -> list[Proposal]:
        """Return one mask per prompt; all of them have the same number of points, and all or none a box."""


def load_segmenter(name: str) -> Segmenter:
    """Open weights by their name in ``weights.yaml``, or by the path of a file or folder.

    UserError says what is missing, where it was looked for and under which licence it is to be had, or that the
    weights are not SAM's.
    """
    path = find_weights(name)
    version = f"{name if name in table() else path.stem}-{digest(path)[:8]}"
    if path.is_dir():
        from curation.segmenting.sam_transformers import TransformersSegmenter

        return TransformersSegmenter(path, version)
    from curation.segmenting.sam_original import OriginalSegmenter

    return OriginalSegmenter(path, version)


def find_weights(name: str) -> Path:
    """Return where the weights lie; UserError when they do not."""
    if name in table():
        return locate(name)
    path = Path(name)
    if not path.exists():
        raise UserError(f"segmenter '{name}': neither a name that `mema weights` lists nor a file or folder")
    return path


def arrays(prompts: Sequence[Prompt]) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return points (N, K, 2) float32, labels (N, K) int64 and boxes (N, 4) float32, None where there are none."""
    points = np.array([prompt.points for prompt in prompts], np.float32)
    labels = np.array([prompt.inside for prompt in prompts], np.int64)
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    some = points.size > 0
    return points if some else None, labels if some else None, np.array(boxes, np.float32) if boxes else None


def best(masks: np.ndarray, scores: np.ndarray) -> list[Proposal]:
    """Return for each prompt the mask of the highest score; ``masks`` bool (N, M, H, W), ``scores`` (N, M)."""
    choice = scores.argmax(axis=1)
    return [Proposal(masks[row, one], float(scores[row, one])) for row, one in enumerate(choice)]
