"""How different two images look to a network: LPIPS on ImageNet's networks, the same idea on the phantom judge's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mema.errors import UserError
from mema.weights import find_weights, locate

if TYPE_CHECKING:
    from torch import Tensor, nn

# Distances (N,) of ``images`` from ``originals``, both uint8 (N, H, W, 3).
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]

LPIPS = ("alex", "vgg", "squeeze")


def perceptual_distance(network: str) -> Distance:
    """Return the distance by ``network``: one of ``LPIPS``, or the weights of a DiseaseClassifier, by name or path.

    UserError when the weights are missing or do not fit.
    """
    return _lpips(network) if network in LPIPS else _trunk_distance(find_weights(network, file=True))


def _lpips(network: str) -> Distance:
    """LPIPS v0.1 (Zhang et al. 2018) as torchmetrics has it, which brings the linear weights but not the network's."""
    import torch

    # torchmetrics' public class would fetch the network's weights from the web.
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    from mema.classifier import as_tensor

    path = locate(f"lpips/{network}")
    metric = _NoTrainLpips(net=cast(Any, network), pnet_rand=True)
    _load_trunk(metric.net, path)

    def distance(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = metric(as_tensor(images), as_tensor(originals), normalize=True).flatten().numpy()
        return found

    return distance


def _load_trunk(trunk: nn.Module, path: Path) -> None:
    """Fill the slices of torchmetrics' ``trunk`` with the layers of torchvision's checkpoint in ``path``."""
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        # A layer keeps its number in whichever slice it is: slice2.3.weight is features.3.weight.
        names = {key: re.sub(r"^slices?\.?\d+", "features", key) for key in trunk.state_dict()}
        trunk.load_state_dict({key: checkpoint[name] for key, name in names.items()})
    except (UnpicklingError, EOFError, RuntimeError, AttributeError, KeyError, TypeError):
        raise UserError(f"{path}: not torchvision's weights of this network") from None


def _trunk_distance(path: Path) -> Distance:
    """LPIPS' distance without learnt weights, on the four stages of a DiseaseClassifier's trunk.

    At each place the features are scaled to length 1; one minus their cosine is averaged over places, then over
    stages. What a rectifier leaves has no angle above 90 degrees, so that the distance lies in [0, 1].
    """
    import torch

    from mema.classifier import DiseaseClassifier, as_tensor, load

    model = load(path)
    if not isinstance(model, DiseaseClassifier):
        raise UserError(f"{path}: a perceptual distance needs the small classifier, not '{model.encoder}'")
    seen: list[Tensor] = []
    # Each stage is a convolution that halves the image, and what follows it.
    for last in model.features[1::2]:
        last.register_forward_hook(lambda _, __, features: seen.append(features))

    def directions(images: np.ndarray) -> list[Tensor]:
        seen.clear()
        model.embed(as_tensor(images))
        return [features / (features.norm(dim=1, keepdim=True) + 1e-8) for features in seen]

    def distance(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pairs = zip(directions(images), directions(originals), strict=True)
            # Half the squared difference: nowhere below zero, and zero where both see nothing.
            stages = [(first - second).square().sum(dim=1).mean(dim=(1, 2)) / 2 for first, second in pairs]
            found: np.ndarray = torch.stack(stages).mean(dim=0).numpy()
        return found

    return distance
