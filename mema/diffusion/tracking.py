"""What is recorded while a model trains, through accelerate's trackers: losses, rate, and images it samples.

A model that trains on patients may draw them, so the tracker's folder belongs on the private side.
``tensorboard --logdir <folder>`` (it binds to loopback) shows one run for each configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mema.diffusion.sampling import Drawing, Schedule, sample
from mema.diffusion.settings import TrainingSettings
from mema.errors import UserError


def tracker_arguments(settings: TrainingSettings, folder: Path) -> dict[str, Any]:
    """Return what makes an ``Accelerator`` track into ``folder``; UserError if the tracker is not installed."""
    from accelerate.utils import ProjectConfiguration, is_tensorboard_available

    if settings.tracker == "none":
        return {}
    if not is_tensorboard_available():
        raise UserError("finetune: tracker 'tensorboard' is not installed: pip install 'openmema[diffusion]'")
    project = ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder))
    return {"log_with": settings.tracker, "project_config": project}


def start_tracker(accelerator: Any, settings: TrainingSettings, fingerprint: str, done: int) -> None:
    """Begin the run named after ``fingerprint``, or go on with it after ``done`` steps: later records are dropped."""
    purge = done + 1 if done else 0
    accelerator.init_trackers(fingerprint[:12], init_kwargs={"tensorboard": {"purge_step": purge}})
    accelerator.log({"settings": settings.model_dump_json(indent=2)}, step=done)


def track_samples(accelerator: Any, pipe: Any, prompts: Sequence[str], size: int, step: int) -> None:
    """Record an image of ``size`` pixels for each prompt; its noise is the same at every ``step``, so they compare."""
    if not accelerator.is_main_process:
        return
    pipe.unet.eval()
    with accelerator.autocast():
        drawings = [Drawing(prompt, seed) for seed, prompt in enumerate(prompts)]
        images = sample(pipe, drawings, size=size, schedule=Schedule())
    pipe.unet.train()
    for tracker in accelerator.trackers:
        tracker.log_images(
            {f"samples/{prompt or 'no prompt'}": image[None] for prompt, image in zip(prompts, images, strict=True)},
            step=step,
            dataformats="NHWC",
        )


def stop_tracker(accelerator: Any) -> None:
    """Write out what is left; unlike ``end_training`` it leaves the processes' group to a training that follows."""
    for tracker in accelerator.trackers:
        tracker.finish()
