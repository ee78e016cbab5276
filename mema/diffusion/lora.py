"""LoRA: low-rank factors beside a frozen UNet, written and read as plain diffusers does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mema.diffusion.checkpoint import LORA_FILE, lora_file
from mema.diffusion.settings import TrainingSettings
from mema.errors import UserError
from mema.files import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def add_lora(unet: Any, settings: TrainingSettings, init: Path | None = None) -> dict[str, torch.nn.Parameter]:
    """Freeze ``unet``, add a trainable LoRA (alpha = rank) in float32 and return its parameters by name.

    The first factors are drawn from ``settings.seed``, the second are 0; with ``init`` both are read from that LoRA.
    UserError when ``targets`` match no layer or ``init`` has other layers or another rank.
    """
    import torch
    from peft import LoraConfig

    unet.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.rank, target_modules=list(settings.targets), init_lora_weights="gaussian"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        try:
            unet.add_adapter(config)
        except ValueError:
            raise UserError(f"finetune: no layer of the UNet is called {', '.join(settings.targets)}") from None
    if init is not None:
        _load_init(unet, init)
    parameters = {name: p for name, p in unet.named_parameters() if p.requires_grad}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
    return parameters


@contextmanager
def summed_weights(unet: torch.nn.Module) -> Iterator[None]:
    """Let every LoRA layer apply the sum of its weight and its factors' product at once, where that is less work.

    It is the same function up to rounding. At a rank that is not small beside the layer's width, the factors cost more
    than the layer they adapt: their own passes are saved, for one gradient of the sum.
    """
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [layer for layer in unet.modules() if isinstance(layer, LoraLayer) and _sum_is_less(layer)]
    for layer in layers:
        layer.forward = partial(_forward_summed, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _sum_is_less(layer: Any) -> bool:
    """Whether the gradient of the whole weight takes fewer products than both factors forward, backward and theirs."""
    (name,) = layer.lora_A
    first, second = layer.lora_A[name].weight, layer.lora_B[name].weight
    return bool(3 * (first.numel() + second.numel()) > layer.get_base_layer().weight.numel())


def _forward_summed(layer: Any, states: Tensor, *_: Any, **__: Any) -> Tensor:
    import torch.nn.functional as functional

    base, (name,) = layer.get_base_layer(), layer.lora_A
    first, second = layer.lora_A[name].weight, layer.lora_B[name].weight
    product = (second.flatten(1) @ first.flatten(1)).view_as(base.weight)
    weight = base.weight + layer.scaling[name] * product
    if base.weight.ndim == 2:
        return functional.linear(states, weight, base.bias)
    return functional.conv2d(states, weight, base.bias, base.stride, base.padding, base.dilation)


def save_lora(unet: torch.nn.Module, folder: Path) -> Path:
    """Write the LoRA of ``unet`` in half precision as plain diffusers reads it; return the file."""
    import tempfile

    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    # Under peft's own names: diffusers' older ones cover attention only, and a mixture of both is read in part.
    layers = get_peft_model_state_dict(unet)
    with tempfile.TemporaryDirectory() as scratch:
        StableDiffusionPipeline.save_lora_weights(
            scratch, unet_lora_layers={name: tensor.half().contiguous() for name, tensor in layers.items()}
        )
        return atomic_write(folder / LORA_FILE, (Path(scratch) / LORA_FILE).read_bytes())


def _load_init(unet: torch.nn.Module, init: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_unet_state_dict_to_peft
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    file = lora_file(init)
    layers, *_ = StableDiffusionPipeline.lora_state_dict(str(file.parent), weight_name=file.name)
    layers = convert_unet_state_dict_to_peft({k.removeprefix("unet."): v.float() for k, v in layers.items()})
    present = {name: tensor.shape for name, tensor in get_peft_model_state_dict(unet).items()}
    if present != {name: tensor.shape for name, tensor in layers.items()}:
        raise UserError(f"finetune: init {init} has other layers or another rank than the settings ask for")
    set_peft_model_state_dict(unet, layers)
