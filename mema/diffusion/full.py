"""Full fine-tuning: every weight of the UNet is trained, and the UNet is saved whole in diffusers layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mema.diffusion.checkpoint import UNET_FOLDER

if TYPE_CHECKING:
    import torch


def unfreeze(unet: Any) -> dict[str, torch.nn.Parameter]:
    """Make every weight of ``unet`` trainable, in float32, and return the parameters by name."""
    unet.float().requires_grad_(True)
    return dict(unet.named_parameters())


def save_unet(unet: Any, folder: Path) -> Path:
    """Write ``folder/unet`` in half precision, as ``UNet2DConditionModel.from_pretrained`` reads it; return it.

    An earlier one is replaced; a kill midway leaves none, or the old or the new one whole.
    """
    import torch

    with torch.device("meta"):
        half = type(unet).from_config({k: v for k, v in unet.config.items() if not k.startswith("_")})
    half.load_state_dict({name: tensor.half().contiguous() for name, tensor in unet.state_dict().items()}, assign=True)
    part, whole = folder / f".{UNET_FOLDER}.part", folder / UNET_FOLDER
    shutil.rmtree(part, ignore_errors=True)
    half.save_pretrained(part, safe_serialization=True)
    if whole.exists():
        shutil.rmtree(whole)
    part.replace(whole)
    return whole
