"""Train nnU-Net v2 (Isensee et al. 2021) to outline lesions on RGB images: its own planner, preprocessor and trainer.

What is left is weights and plans alone (``benchmark.tracks.nnunet``); everything else that nnU-Net writes lies in the
subfolder ``work`` and goes with it. A killed training goes on at its last checkpoint and ends bit-identical.
"""

from __future__ import annotations

import contextlib
import multiprocessing.dummy
import os
import random
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, plan_experiment_dataset
from nnunetv2.preprocessing.preprocessors import default_preprocessor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from safetensors.torch import save
from tqdm import tqdm

from benchmark.tracks.nnunet import CONFIGURATION, MODEL, PLANS, best_device
from mema.files import atomic_write, read_json, write_json
from mema.imageset import Face, encode_png

DATASET_ID, DATASET, PLANS_NAME = 1, "Dataset001_Lesions", "nnUNetPlans"
WORK, READY = "work", "preprocessed.json"
CHECKPOINT_SECONDS = 60.0


def train(faces: Sequence[Face], folder: Path, *, seeds: Sequence[int], epochs: int, iterations: int) -> None:
    """Train one network per seed on ``faces``, each with a mask, and write weights and plans to ``folder``.

    Each network sees all faces (nnU-Net's fold "all") for ``epochs`` of ``iterations`` batches, at the patch and batch
    size that nnU-Net plans. What is in ``folder`` already is kept: it must be of the same arguments.
    """
    work = folder / WORK
    models = {seed: folder / MODEL.format(number) for number, seed in enumerate(seeds)}
    if all(path.is_file() for path in models.values()):
        shutil.rmtree(work, ignore_errors=True)
        return
    with _confined(work):
        if not (work / READY).is_file():
            shutil.rmtree(work, ignore_errors=True)
            _preprocess(faces, work)
        with tqdm(total=len(seeds) * epochs * iterations, desc="nnU-Net", unit="step") as bar:
            for seed, path in models.items():
                if path.is_file():
                    bar.update(epochs * iterations)
                else:
                    _train_one(path, work, seed, epochs, iterations, bar)
    shutil.rmtree(work)


class Fingerprint(fingerprint_extractor.DatasetFingerprintExtractor):
    """nnU-Net's fingerprint from fewer intensities: photos are normalised each by its own, not by those of lesions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_foreground_voxels_for_intensitystats = 1_000_000


class Trainer(nnUNetTrainer):
    """nnU-Net's trainer, but silent, resumable at any moment and the same in every run of one ``seed``."""

    seed: int
    bar: Any
    saved = 0.0

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> Any:
        """Return nnU-Net's augmentation, its blur without a race of two algorithms that round differently."""
        transforms = nnUNetTrainer.get_training_transforms(*args, **kwargs)
        for transform in transforms.transforms:
            inner = getattr(transform, "transform", None)
            if isinstance(inner, GaussianBlurTransform):
                inner.benchmark = False
        return transforms

    def on_epoch_start(self) -> None:
        """Draw each epoch's random numbers anew, so that a resumed training draws the same."""
        _seed(self.seed, self.current_epoch)
        super().on_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take a step and show it."""
        step: dict[str, Any] = super().train_step(batch)
        self.bar.update()
        return step

    def on_epoch_end(self) -> None:
        """Save a checkpoint if the last one is long ago; it takes a second and 100 MB or more."""
        due = time.monotonic() - self.saved > CHECKPOINT_SECONDS
        self.save_every = 1 if due else self.num_epochs
        super().on_epoch_end()

    def save_checkpoint(self, filename: str) -> None:
        """Save it whole or not at all."""
        super().save_checkpoint(f"{filename}.part")
        Path(f"{filename}.part").replace(filename)
        self.saved = time.monotonic()

    def print_to_log_file(self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True) -> None:
        """Write to the log file alone."""
        super().print_to_log_file(*args, also_print_to_console=False, add_timestamp=add_timestamp)

    def _save_debug_information(self) -> None:
        """Write nothing: it names the host."""


def _train_one(path: Path, work: Path, seed: int, epochs: int, iterations: int, bar: Any) -> None:
    prepared = work / "preprocessed" / DATASET
    os.environ |= {"nnUNet_results": str(work / path.stem)}
    plans, dataset = (read_json(prepared / f"{name}.json") for name in (PLANS_NAME, "dataset"))
    trainer = Trainer({**plans, "continue_training": True}, CONFIGURATION, "all", dataset, best_device())
    trainer.seed, trainer.bar = seed, bar
    trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, iterations
    # Its validation sees the training images here and chooses a checkpoint that nobody uses; its pictures take long.
    trainer.num_val_iterations_per_epoch, trainer._best_ema = 1, float("inf")
    trainer.logger.plot_progress_png = lambda folder: None
    _seed(seed, epochs)
    trainer.saved = time.monotonic()
    checkpoints = (Path(trainer.output_folder) / f"checkpoint_{name}.pth" for name in ("final", "latest"))
    if found := next(filter(Path.is_file, checkpoints), None):
        trainer.load_checkpoint(str(found))
        bar.update(trainer.current_epoch * iterations)
    trainer.run_training()
    mirroring = list(trainer.inference_allowed_mirroring_axes)
    dataset = {key: dataset[key] for key in ("channel_names", "labels", "file_ending")}
    write_json(path.with_name(PLANS), {"plans": plans, "dataset": dataset, "mirroring": mirroring})
    # Not the state, which names the encoder twice.
    weights = {name: weight.detach().cpu().contiguous() for name, weight in trainer.network.named_parameters()}
    atomic_write(path, save(weights))
    shutil.rmtree(work / path.stem)


def _preprocess(faces: Sequence[Face], work: Path) -> None:
    """Write nnU-Net's raw dataset; let it take the fingerprint, plan and preprocess."""
    raw = work / "raw" / DATASET
    cases = {}
    for number, face in enumerate(faces):
        assert face.mask is not None
        case = f"case-{number:05d}"
        image, label = f"imagesTr/{case}_0000.png", f"labelsTr/{case}.png"
        atomic_write(raw / image, encode_png(face.image))
        atomic_write(raw / label, encode_png(face.mask.astype(np.uint8)))
        cases[case] = {"images": [image], "label": label}
    dataset = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(cases),
        "file_ending": ".png",
        # Without this list nnU-Net forks twelve processes to find the files.
        "dataset": cases,
    }
    write_json(raw / "dataset.json", dataset)
    with _threads_for_processes(fingerprint_extractor, default_preprocessor):
        extract_fingerprint_dataset(DATASET_ID, Fingerprint, num_processes=1, verbose=False)
        # The planner takes it for a number of threads.
        os.environ |= {"nnUNet_n_proc_DA": "1"}
        plan_experiment_dataset(DATASET_ID)
        os.environ |= {"nnUNet_n_proc_DA": "0"}
        preprocessor = default_preprocessor.DefaultPreprocessor(verbose=False)
        preprocessor.run(DATASET_ID, CONFIGURATION, PLANS_NAME, num_processes=1)
    write_json(work / READY, {"cases": len(cases)})


@contextlib.contextmanager
def _confined(work: Path) -> Iterator[None]:
    """Set what nnU-Net reads from the environment; what it prints, warns of and draws at random stays inside."""
    environment = dict(os.environ)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        os.environ |= {
            "nnUNet_raw": str(work / "raw"),
            "nnUNet_preprocessed": str(work / "preprocessed"),
            "nnUNet_n_proc_DA": "0",
            "nnUNet_compile": "false",
            "nnUNet_wandb_enabled": "0",
        }
        with (
            contextlib.redirect_stdout(None),
            warnings.catch_warnings(action="ignore"),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        ):
            yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ |= environment
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


@contextlib.contextmanager
def _threads_for_processes(*modules: ModuleType) -> Iterator[None]:
    """Let nnU-Net's ``modules`` work in a thread where they would spawn a process that imports torch for seconds."""
    spawning = [module.multiprocessing for module in modules]
    for module in modules:
        module.multiprocessing = SimpleNamespace(get_context=lambda method: multiprocessing.dummy)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, before in zip(modules, spawning, strict=True):
            module.multiprocessing = before  # type: ignore[attr-defined]


def _seed(*entropy: int) -> None:
    """Seed every generator that nnU-Net draws from."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
