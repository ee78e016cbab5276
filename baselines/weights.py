"""Weights that a method's YAML names: a file on this machine, or a row of ``weights/weights.yaml``."""

from __future__ import annotations

from pathlib import Path


def find_weights(source: str) -> Path:
    """Return the file that ``source`` means; UserError, with origin and licence, when named weights are missing."""
    from mema.weights import locate

    path = Path(source)
    return path if path.is_file() else locate(source)
