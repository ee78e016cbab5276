"""DINOv2 (2304.07193) as a disease classifier, fine-tuned throughout: MeMa's judge of medical utility (Table 3).

The weights are a folder of transformers, such as that of facebook/dinov2-base; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mema.classifier import Classifier
from mema.errors import UserError
from mema.files import read_json

# The size and the normalisation of DINOv2's image processor; its table of positions, of 518 px, is interpolated.
INPUT_SIZE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# What of its configuration makes the network; the rest, such as where it came from, is not kept.
SETTINGS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "mlp_ratio",
    "hidden_act",
    "layer_norm_eps",
    "image_size",
    "patch_size",
    "qkv_bias",
    "layerscale_value",
    "use_swiglu_ffn",
)


class Dinov2Classifier(Classifier):
    """DINOv2 and a linear head on its class token and the mean of its patches, as in transformers' classifier.

    ``settings`` are those of ``Dinov2Config`` that ``SETTINGS`` names. It works on the GPU where there is one.
    """

    encoder = "dinov2"
    learning_rate = 5e-5
    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: Sequence[str], **settings: Any) -> None:
        from transformers import Dinov2Config, Dinov2Model

        super().__init__()
        self.classes, self.settings = tuple(classes), settings
        config = Dinov2Config(**settings)
        self.side = min(INPUT_SIZE, *np.ravel(config.image_size).tolist())
        self.trunk = Dinov2Model(config)
        self.head = nn.Linear(2 * config.hidden_size, len(self.classes))
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.to("cuda" if torch.cuda.is_available() else "cpu")

    @classmethod
    def start(cls, classes: Sequence[str], init: Path | None) -> Self:
        """Start from a folder of DINOv2 as transformers writes it, with a new head; UserError without one."""
        if init is None:
            raise UserError("DINOv2 is never trained from nothing: name weights to start from, such as 'dinov2-base'")
        trunk = _load_trunk(init)
        model = cls(classes, **{name: getattr(trunk.config, name) for name in SETTINGS})
        model.trunk.load_state_dict(trunk.state_dict())
        return model

    def read(self, images: Tensor) -> Tensor:
        """Return class token and mean of the patches, (N, 2 x hidden size)."""
        size = (self.side, self.side)
        pixels = functional.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        tokens = self.trunk((pixels.clamp(0, 1) - self.mean) / self.deviation).last_hidden_state
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)


def _load_trunk(folder: Path) -> Any:
    """Return the Dinov2Model that lies in ``folder``, float32; UserError if none does."""
    from transformers import Dinov2Model

    config = read_json(folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "dinov2":
        raise UserError(f"{folder}: a model of type '{kind}', not 'dinov2'")
    try:
        # Only safetensors: other files may run code when they are opened.
        opened: Any = Dinov2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a checkpoint that Dinov2Model opens ({_line(error)})") from None
    model, report = opened
    if report["missing_keys"]:
        raise UserError(f"{folder}: weights are missing, {sorted(report['missing_keys'])[0]} first")
    return model


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
