"""SAM, SAM-HQ and SAM 2 as transformers has them: a folder with ``config.json``, safetensors and image processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curation.segmenting.segmenter import Prompt, Proposal, arrays, best
from mema.errors import UserError
from mema.files import read_json

# The published checkpoints of SAM 2 are of its video model, whose images Sam2Model reads.
CLASSES = {
    "sam": ("SamModel", "SamProcessor"),
    "sam_hq": ("SamHQModel", "SamHQProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    "sam2_video": ("Sam2Model", "Sam2Processor"),
}


class _Embedding(NamedTuple):
    """What the model makes of an image (by the names it takes them back), the image's size and the model's input's,
    (H, W), and what the processor needs to undo the resizing."""

    features: dict[str, Any]
    size: tuple[int, int]
    input_size: tuple[int, int]
    undo: dict[str, Any]


class TransformersSegmenter:
    """Runs a checkpoint of one of ``CLASSES`` in float32; see ``Segmenter``."""

    def __init__(self, folder: Path, version: str) -> None:
        import torch
        import transformers

        self.version = version
        config = read_json(folder / "config.json")
        kind = config.get("model_type") if isinstance(config, dict) else None
        if kind not in CLASSES:
            raise UserError(f"{folder}: a model of type '{kind}' is none of {', '.join(CLASSES)}")
        model, processor = (getattr(transformers, name) for name in CLASSES[kind])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            # Only safetensors: other files may run code when they are opened.
            opened = model.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
            self.processor = processor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{folder}: not a checkpoint that {model.__name__} opens ({_line(error)})") from None
        self.model, report = opened
        if report["missing_keys"]:
            raise UserError(f"{folder}: weights are missing, {sorted(report['missing_keys'])[0]} first")
        self.model = self.model.to(self.device).eval()

    def embed(self, image: np.ndarray) -> _Embedding:
        """Read an image, uint8 RGB (H, W, 3)."""
        import torch

        # A copy: torch warns of arrays that cannot be written to, as those of an ImageSet.
        inputs = self.processor(images=np.array(image), return_tensors="pt")
        pixels = inputs["pixel_values"].to(self.device)
        with torch.inference_mode():
            features = self.model.get_image_embeddings(pixels)
        names = ("image_embeddings", "intermediate_embeddings")
        named = dict(zip(names, features, strict=True)) if isinstance(features, tuple) else {names[0]: features}
        undo = {"original_sizes": inputs["original_sizes"]}
        input_size = pixels.shape[-2:]
        if "reshaped_input_sizes" in inputs:
            undo["reshaped_input_sizes"] = inputs["reshaped_input_sizes"]
            input_size = inputs["reshaped_input_sizes"][0].tolist()
        return _Embedding(named, image.shape[:2], tuple(input_size), undo)

    def segment(self, embedding: _Embedding, prompts: Sequence[Prompt]) -> list[Proposal]:
        """Return one mask per prompt; all of them have the same number of points, and all or none a box."""
        import torch

        points, labels, boxes = arrays(prompts)
        height, width = (new / old for new, old in zip(embedding.input_size, embedding.size, strict=True))
        scale = np.array([width, height], np.float32)
        given = {
            "input_points": None if points is None else points * scale,
            "input_labels": labels,
            "input_boxes": None if boxes is None else boxes * np.tile(scale, 2),
        }
        with torch.inference_mode():
            tensors = {k: torch.from_numpy(v)[None].to(self.device) for k, v in given.items() if v is not None}
            out = self.model(**embedding.features, **tensors, multimask_output=prompts[0].ambiguous)
            masks = self.processor.post_process_masks(out.pred_masks.cpu(), **embedding.undo)[0]
        return best(masks.numpy(), out.iou_scores[0].float().cpu().numpy())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
