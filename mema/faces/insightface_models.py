"""Load networks of InsightFace's packs with its own library; never downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mema.errors import UserError
from mema.faces.packages import not_importable


def load_model(path: Path, task: str) -> Any:
    """Return the library's model in the ONNX file ``path``; UserError when it is not its network for ``task``."""
    try:
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise not_importable("insightface", error) from None
    try:
        model = get_model(str(path))
    # onnxruntime's exceptions have no common base.
    except Exception:
        raise UserError(f"{path}: not an ONNX graph that onnxruntime can load") from None
    if getattr(model, "taskname", None) != task:
        raise UserError(f"{path}: not InsightFace's network for {task}")
    return model
