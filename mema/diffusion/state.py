"""The state of an interrupted training (weights, Adam's moments, losses): one safetensors file, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

ADAM = ("step", "exp_avg", "exp_avg_sq")


class Curves(NamedTuple):
    """The loss of each step, and the loss on held-out photos by the number of steps made before it was measured."""

    losses: list[float]
    held_out: dict[int, float]


def save_state(
    file: Path,
    fingerprint: str,
    parameters: Mapping[str, Tensor],
    optimizer: Any,
    scaler: Any,
    curves: Curves,
) -> None:
    """Write ``file`` anew; a kill midway leaves the earlier one.

    ``optimizer`` is an Adam (or accelerate's wrapper of one) over some of ``parameters``; ``scaler`` is the loss scaler
    of half precision or None. What is saved is exact, so training goes on from it as if it had not stopped.
    """
    from safetensors.torch import save_file

    moments = getattr(optimizer, "optimizer", optimizer).state
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.detach()
        # None yet, where half precision skipped steps whose gradients overflow, or no step has moved a parameter.
        tensors |= {f"{kind}/{name}": moments[parameter][kind] for kind in ADAM if parameter in moments}
    metadata = {
        "fingerprint": fingerprint,
        "scaler": json.dumps(None if scaler is None else scaler.state_dict()),
        "losses": json.dumps(curves.losses),
        "held_out": json.dumps(list(curves.held_out.items())),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    # Of a whole UNet this is gigabytes: straight to disk, and under one name, so that kills leave no more than one.
    part = file.with_name(f".{file.name}.part")
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, part, metadata=metadata)
    part.replace(file)


def load_state(file: Path, fingerprint: str, parameters: Mapping[str, Tensor], optimizer: Any, scaler: Any) -> Curves:
    """Restore what ``save_state`` wrote under this fingerprint and return its curves; none, if it wrote none."""
    from safetensors import safe_open

    if not file.is_file():
        return Curves([], {})
    moments = getattr(optimizer, "optimizer", optimizer).state
    with safe_open(str(file), framework="pt") as saved:
        metadata = saved.metadata()
        if metadata["fingerprint"] != fingerprint:
            return Curves([], {})
        held = set(saved.keys())
        for name, parameter in parameters.items():
            parameter.data.copy_(saved.get_tensor(f"weight/{name}"))
            if f"step/{name}" in held:
                kept = {kind: saved.get_tensor(f"{kind}/{name}") for kind in ADAM}
                # Adam counts its steps on the CPU.
                moments[parameter] = {k: v if k == "step" else v.to(parameter.device) for k, v in kept.items()}
        if scaler is not None:
            scaler.load_state_dict(json.loads(metadata["scaler"]))
        return Curves(json.loads(metadata["losses"]), dict(json.loads(metadata["held_out"])))
