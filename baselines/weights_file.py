"""Trained networks as one file that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mema.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor


def write_half(tensors: Mapping[str, Tensor], file: Path, name: str, description: Mapping[str, Any]) -> None:
    """Write ``tensors`` in half precision as safetensors, with ``description`` as JSON under ``name``. Atomic."""
    from safetensors.torch import save

    halves = {key: value.detach().half().cpu().contiguous() for key, value in tensors.items()}
    # One entry: safetensors writes several in no fixed order, and equal trainings are to give equal bytes.
    atomic_write(file, save(halves, metadata={name: json.dumps(description, sort_keys=True)}))
