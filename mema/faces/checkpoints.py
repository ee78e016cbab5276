"""Load recognisers' weights as their authors published them: PyTorch checkpoints with the classifier still in them."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from torch import nn

from mema.errors import UserError

Network = TypeVar("Network", bound=nn.Module)


def load_without_classifier(network: Network, path: Path, *, classifier: str, what: str) -> Network:
    """Return ``network`` in evaluation mode with the weights in ``path``, opened as tensors only.

    Layers whose names begin with ``classifier``, of the people that it was trained on, are left out. UserError, saying
    ``what`` was expected, when the weights do not fit.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({key: value for key, value in weights.items() if not key.startswith(classifier)})
    except (UnpicklingError, EOFError, RuntimeError, AttributeError):
        raise UserError(f"{path}: not the weights of {what}") from None
    return network.eval()
