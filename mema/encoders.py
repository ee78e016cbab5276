"""Images as numbers, by networks in whose features distances between sets of images are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import numpy as np

from mema.errors import UserError
from mema.weights import find_weights, locate

# Features, float32 (N, D), of images, uint8 RGB (N, H, W, 3) of any size.
Encoder = Callable[[np.ndarray], np.ndarray]

INCEPTION = "inception"


def encoder(name: str) -> Encoder:
    """Return the encoder called ``name``: FID's ``inception``, or weights by name or path.

    A file holds a disease classifier, a folder a vision model of transformers, such as DINOv2. UserError when the
    weights are missing or do not fit.
    """
    if name == INCEPTION:
        return _inception(locate("fid/inception"))
    path = find_weights(name)
    return _vision_model(path) if path.is_dir() else _classifier(path)


def _inception(path: Path) -> Encoder:
    """The 2,048 numbers of the Inception v3 of FID and KID (Heusel et al. 2017), as torch-fidelity has it."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        # torch-fidelity would run whatever code is pickled in the file: let through what holds tensors only.
        torch.load(path, map_location="cpu", weights_only=True)
        network = FeatureExtractorInceptionV3(INCEPTION, ["2048"], feature_extractor_weights_path=str(path))
    except (UnpicklingError, EOFError, RuntimeError, AttributeError, TypeError):
        raise UserError(f"{path}: not torch-fidelity's weights of Inception v3") from None

    def encode(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            (features,) = network(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2))
        found: np.ndarray = features.numpy()
        return found

    return encode


def _classifier(path: Path) -> Encoder:
    """What a disease classifier reads before its last layer."""
    import torch

    from mema.classifier import as_tensor, load

    model = load(path)

    def encode(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            features: np.ndarray = model.embed(as_tensor(images)).numpy()
        return features

    return encode


def _vision_model(path: Path) -> Encoder:
    """A transformer's class token after its last layer's norm, on images as its own processor prepares them."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    try:
        model = AutoModel.from_pretrained(path, local_files_only=True, use_safetensors=True).eval()
        processor = AutoImageProcessor.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a vision model of transformers ({str(error).splitlines()[0]})") from None

    def encode(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            features = model(**processor(images=list(images), return_tensors="pt")).last_hidden_state[:, 0]
        found: np.ndarray = features.numpy()
        return found

    return encode
