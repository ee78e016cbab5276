"""Disease classifiers: what medical utility is measured with, a small CNN (the demo's) or DINOv2 (MeMa's).

``fine_tune`` trains one from scratch or from weights (``mema.weights.locate("phantom-judge/eye_clinic")``),
``predict`` gives probabilities. Everything is deterministic in the seed on one machine and thread count.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from mema.augment import Augmentation, augment
from mema.errors import UserError
from mema.files import atomic_write
from mema.registry import resolve

INPUT_SIZE = 128
WIDTHS = (24, 48, 96, 144)
PLACE_WIDTH = 24

ENCODERS = {"small": "mema.classifier:DiseaseClassifier", "dinov2": "mema.dinov2_classifier:Dinov2Classifier"}


class Classifier(nn.Module):
    """A trunk that reads photos and a linear ``head``; ``classes`` are the disease codes of its outputs.

    ``forward`` takes float (N, 3, H, W) in [0, 1] of any size and returns logits (N, C), where the images lie; it is
    differentiable. ``settings`` and ``classes`` are what ``Class(classes, **settings)`` makes another of, before its
    weights; ``learning_rate`` suits its fine-tuning.
    """

    encoder: ClassVar[str]
    learning_rate: ClassVar[float]
    classes: tuple[str, ...]
    settings: dict[str, Any]
    head: nn.Linear

    @classmethod
    def start(cls, classes: Sequence[str], init: Path | None) -> Self:
        """Return a classifier to be trained, from the weights at ``init``; UserError when they do not fit."""
        raise NotImplementedError

    def read(self, images: Tensor) -> Tensor:
        """Return the features (N, D) of ``images``, which lie where the weights do."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """Return the features before the last layer, (N, D)."""
        return self.read(images.to(self.head.weight.device)).to(images.device)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of ``images``."""
        logits: Tensor = self.head(self.read(images.to(self.head.weight.device)))
        return logits.to(images.device)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(features + self.body(features))


class DiseaseClassifier(Classifier):
    """The small one: a residual CNN of 0.9 M parameters over photos of 128 px, 240 features."""

    encoder = "small"
    learning_rate = 2e-3

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes, self.settings = tuple(classes), {}
        first, *rest = WIDTHS
        layers: list[nn.Module] = [_convolution(3, first, stride=2), _convolution(first, first)]
        for inputs, outputs in zip(WIDTHS, rest, strict=False):
            layers += [_convolution(inputs, outputs, stride=2), _Residual(outputs)]
        self.features = nn.Sequential(*layers)
        last, cells = WIDTHS[-1], (INPUT_SIZE // 2 ** len(WIDTHS)) ** 2
        # Where a sign is counts, and how one eye compares with the other: averaging over places would lose both.
        self.places = nn.Sequential(
            nn.Conv2d(last, PLACE_WIDTH, 1), nn.Flatten(), nn.Linear(PLACE_WIDTH * cells, PLACE_WIDTH * 4), nn.ReLU()
        )
        self.head = nn.Linear(last + PLACE_WIDTH * 4, len(self.classes))

    @classmethod
    def start(cls, classes: Sequence[str], init: Path | None) -> Self:
        """Start from a file that ``save`` wrote, with its head too when its classes are the same; or from nothing."""
        model = cls(classes)
        if init is None:
            return model
        earlier = load(init)
        if not isinstance(earlier, cls):
            raise UserError(f"{init}: weights of the encoder '{earlier.encoder}', not '{cls.encoder}'")
        model.features.load_state_dict(earlier.features.state_dict())
        model.places.load_state_dict(earlier.places.state_dict())
        if model.classes == earlier.classes:
            model.head.load_state_dict(earlier.head.state_dict())
        return model

    def read(self, images: Tensor) -> Tensor:
        """Return the strongest response of each feature, and what is where, (N, 240)."""
        if images.shape[-2:] != (INPUT_SIZE, INPUT_SIZE):
            images = functional.interpolate(
                images, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True, align_corners=False
            )
        features = self.features((images * 4 - 2).contiguous(memory_format=torch.channels_last))
        return torch.cat([features.amax(dim=(2, 3)), self.places(features)], dim=1)


def fine_tune(
    images: np.ndarray,
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    encoder: str = "small",
    init: Path | None = None,
    epochs: int = 12,
    seed: int = 0,
    batch_size: int = 32,
    learning_rate: float | None = None,
    augmentation: Augmentation | None = None,
    label: str = "classifier",
) -> Classifier:
    """Train a classifier of ``classes`` on ``images``, uint8 RGB (N, H, W, 3), with a disease code each.

    AdamW, one-cycle learning rate (up to ``learning_rate``; None: the encoder's own), label smoothing 0.05; classes
    weigh equally however many photos they have. ``encoder`` is one of ``ENCODERS``, ``init`` the weights it starts from
    (its ``start``). Raises UserError for a label outside ``classes``, for fewer than two photos or for weights that do
    not fit.
    """
    strange = sorted(set(labels) - set(classes))
    if strange:
        raise UserError(f"label {strange[0]!r} is not one of {', '.join(classes)}")
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images of {len(labels)} labels")
    if len(images) < 2:
        raise UserError("a classifier needs at least two photos to train on")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Classifier = resolve(ENCODERS[encoder]).start(classes, init)
    model = model.to(memory_format=torch.channels_last).train()
    learning_rate = learning_rate or model.learning_rate

    targets = torch.tensor([model.classes.index(code) for code in labels])
    counts = torch.bincount(targets, minlength=len(model.classes)).clamp(min=1)
    weights = len(targets) / (torch.count_nonzero(torch.bincount(targets)) * counts)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.02)
    # A last batch of one photo has no variance to normalise by.
    batches = [batch for batch in range(0, len(images), batch_size) if len(images) - batch > 1]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * len(batches), pct_start=0.25
    )
    settings = augmentation or Augmentation()
    with tqdm(total=epochs * len(batches), desc=label, unit="step") as bar:
        for _ in range(epochs):
            order = torch.randperm(len(images), generator=generator)
            for start in batches:
                rows = order[start : start + batch_size]
                batch = augment(as_tensor(images[rows.numpy()]), settings, generator)
                with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
                    logits = model(batch).float()
                loss = functional.cross_entropy(logits, targets[rows], weights.to(logits.dtype), label_smoothing=0.05)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def predict(model: Classifier, images: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    """Return probabilities float32 (N, C) for ``images``, uint8 RGB (N, H, W, 3), averaged over both mirror views."""
    model.eval()
    rows = [np.zeros((0, len(model.classes)), dtype=np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = as_tensor(images[start : start + batch_size])
            both = model(batch).softmax(1) + model(batch.flip(3)).softmax(1)
            rows.append((both / 2).numpy())
    return np.concatenate(rows)


def save(model: Classifier, path: Path, *, half: bool = False) -> None:
    """Write the weights as safetensors, with what they are of in the metadata, atomically; ``half`` stores float16."""
    from safetensors.torch import save as to_bytes

    tensors = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    metadata = {"classes": json.dumps(model.classes)}
    if model.encoder != DiseaseClassifier.encoder:
        metadata |= {"encoder": model.encoder, "settings": json.dumps(model.settings)}
    atomic_write(path, to_bytes(tensors, metadata=metadata))


def load(path: Path) -> Classifier:
    """Read what ``save`` wrote, float32, in evaluation mode; raises UserError when the file is something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        kind = resolve(ENCODERS[metadata.get("encoder", DiseaseClassifier.encoder)])
        model: Classifier = kind(json.loads(metadata["classes"]), **json.loads(metadata.get("settings", "{}")))
        model.load_state_dict(tensors)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        raise UserError(f"{path}: not the weights of a disease classifier") from None
    return model.eval().to(memory_format=torch.channels_last)


def as_tensor(images: np.ndarray) -> Tensor:
    """Turn uint8 (N, H, W, 3) into float32 (N, 3, H, W) in [0, 1]."""
    # A copy: torch warns of arrays that cannot be written to, such as memory maps.
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 natively (twice as fast here); emulated, it would be slower."""
    return bool(torch.cpu._is_avx512_bf16_supported())
