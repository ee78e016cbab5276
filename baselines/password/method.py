"""Password: a U-Net changes the face as the password says; whoever has it gets the photo back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.keys import keys_for
from baselines.latent_code.code import load_code
from baselines.weights_file import write_half
from mema.config import Config
from mema.errors import UserError
from mema.files import sha256_file
from mema.weights import find_weights

if TYPE_CHECKING:
    from baselines.password.network import PasswordNetwork


DESCRIPTION = "password"


class PasswordParameters(Config):
    """``weights``: a file that ``python -m baselines.password.train`` wrote; ``code``: the face code it was trained
    round. Either may be a name in the table of weights."""

    weights: str = "phantom-password"
    code: str = "phantom-face-code"


class Password:
    """Adds to each photo the change that the network draws of it at ``SIZE`` px; finer detail stays."""

    name = "password"
    reversible = True
    prior = "Unet + eigenfaces"
    parameters_model = PasswordParameters

    def __init__(self, parameters: PasswordParameters) -> None:
        self.parameters = parameters
        path, code = (find_weights(name, file=True) for name in (parameters.weights, parameters.code))
        self.revision = f"2.{sha256_file(path)[:8]}"
        self._network = load_network(path, code)

    @property
    def parameter_count(self) -> int:
        """Return how many numbers the network has learnt, those of its face code with them."""
        learnt = [*self._network.parameters(), self._network.mean, self._network.back]
        return sum(numbers.numel() for numbers in learnt)

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images`` with the identities that ``keys`` give them, uint8 (N, H, W, 3)."""
        return self._apply(self._network.hide, images, keys_for(images, keys, seed))

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return what ``keys`` open in published ``images``, uint8 (N, H, W, 3)."""
        return self._apply(self._network.reveal, images, keys_for(images, keys, 0))

    def _apply(self, change: Any, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        import torch

        from baselines.password.network import SIZE, passwords_of
        from baselines.photos import reduced, with_change
        from mema.classifier import as_tensor

        output = np.empty_like(images)
        # One at a time: in a batch of another size, floats are summed in another order.
        for row, key in enumerate(keys):
            with torch.inference_mode():
                small = reduced(as_tensor(images[row : row + 1]), SIZE)
                drawn = (change(small, passwords_of([key])) - small)[0].numpy()
            output[row] = with_change(images[row], drawn)
        return output


def build_network(code: Path) -> PasswordNetwork:
    """Return the untrained network round the face code in the file ``code``; UserError when that does not fit."""
    from baselines.password.network import PasswordNetwork

    try:
        return PasswordNetwork(load_code(code))
    except ValueError as error:
        raise UserError(f"{code}: {error}") from None


def save_network(network: Any, code: str, path: Path, origin: str) -> None:
    """Write the weights as float16 safetensors with how they came to be and ``code``, the hash of its code; atomic."""
    write_half(network.state_dict(), path, DESCRIPTION, {"code": code, "origin": origin})


def load_network(path: Path, code: Path) -> PasswordNetwork:
    """Read what ``save_network`` wrote, float32; UserError when it is something else or of another ``code``."""
    from safetensors import SafetensorError, safe_open

    network = build_network(code)
    try:
        with safe_open(path, framework="pt") as file:
            trained_round = json.loads((file.metadata() or {})[DESCRIPTION])["code"]
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 (not a dict)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not the weights of method 'password'") from None
    if trained_round != sha256_file(code):
        raise UserError(f"{path}: trained round another face code than {code}")
    return network.requires_grad_(False).eval()
