"""Password: a U-Net changes the face as the password says; whoever has it gets the photo back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.keys import keys_for
from mema.config import Config
from mema.errors import UserError
from mema.weights import find_weights

if TYPE_CHECKING:
    from baselines.password.network import PasswordNetwork


class PasswordParameters(Config):
    """``weights`` is a file that ``python -m baselines.password.train`` wrote, or a name in the table of weights."""

    weights: str = "phantom-password"


class Password:
    """Adds to each photo the change that the network draws of it at ``SIZE`` px, so that fine detail stays."""

    name = "password"
    reversible = True
    prior = "Unet"
    parameters_model = PasswordParameters

    def __init__(self, parameters: PasswordParameters) -> None:
        from mema.files import sha256_file

        self.parameters = parameters
        path = find_weights(parameters.weights, file=True)
        self.revision = f"1.{sha256_file(path)[:8]}"
        self._network = load_network(path)

    @property
    def parameter_count(self) -> int:
        """Return how many numbers the network has learnt."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images`` with the identities that ``keys`` give them, uint8 (N, H, W, 3)."""
        return self._apply(self._network.hide, images, keys_for(images, keys, seed))

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return what ``keys`` open in published ``images``, uint8 (N, H, W, 3)."""
        return self._apply(self._network.reveal, images, keys_for(images, keys, 0))

    def _apply(self, change: Any, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        import torch

        from baselines.password.network import SIZE, passwords_of
        from baselines.photos import enlarged, reduced
        from mema.classifier import as_tensor

        output = np.empty_like(images)
        # One at a time: in a batch of another size, floats are summed in another order.
        for row, key in enumerate(keys):
            with torch.inference_mode():
                small = reduced(as_tensor(images[row : row + 1]), SIZE)
                drawn = (change(small, passwords_of([key])) - small)[0].numpy()
            photo = images[row].astype(np.float32) / 255 + enlarged(drawn, *images.shape[1:3])
            output[row] = np.rint(photo.clip(0, 1) * 255)
        return output


def save_network(network: Any, path: Path, origin: str) -> None:
    """Write the weights as float16 safetensors with how they came to be; atomic."""
    from safetensors.torch import save

    from mema.files import atomic_write

    tensors = {key: value.detach().cpu().half().contiguous() for key, value in network.state_dict().items()}
    atomic_write(path, save(tensors, metadata={"origin": origin}))


def load_network(path: Path) -> PasswordNetwork:
    """Read what ``save_network`` wrote, float32; UserError when it is something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from baselines.password.network import PasswordNetwork

    network = PasswordNetwork()
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError):
        raise UserError(f"{path}: not the weights of method 'password'") from None
    return network.requires_grad_(False).eval()
