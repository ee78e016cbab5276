"""How ``accelerate`` is set up: the processes that share a batch, its pieces, the precision, the tracker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mema.diffusion.settings import TrainingSettings
from mema.diffusion.tracking import tracker_arguments
from mema.errors import UserError

if TYPE_CHECKING:
    import torch


def local_device() -> str:
    """Return where this process trains: on its own GPU, of several processes; on the CPU where there is no GPU."""
    import torch
    from accelerate import PartialState

    forget_training()
    device = PartialState(cpu=not torch.cuda.is_available()).device
    return str(device) if device.type == "cuda" else "cpu"


def forget_training() -> None:
    """Let a training follow another: accelerate would keep the precision and device of the first for good.

    A group of processes that has been formed stays.
    """
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def start_accelerator(settings: TrainingSettings, tracker: Path, *, cpu: bool) -> Any:
    """Return the ``Accelerator`` of a training whose tracker records into the folder ``tracker``.

    It takes the place of an earlier training's in this process. UserError when the processes that were launched cannot
    share a batch in equal pieces.
    """
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin

    forget_training()
    accelerator = Accelerator(
        mixed_precision=settings.precision,
        cpu=cpu,
        # As a plugin, since the number alone gives way to what `accelerate launch` puts in the environment.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=settings.accumulate, sync_with_dataloader=False
        ),
        **tracker_arguments(settings, tracker),
    )
    processes = accelerator.num_processes
    if settings.batch % (processes * settings.accumulate):
        raise UserError(
            f"finetune: a batch of {settings.batch} cannot be shared by {processes} processes"
            f" in {settings.accumulate} pieces each"
        )
    return accelerator


def frozen_precision(accelerator: Any) -> torch.dtype | None:
    """Return the half precision that frozen weights can be kept in, or None: autocast would cast them at every call."""
    import torch

    if not accelerator.native_amp:
        return None
    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(accelerator.mixed_precision)
