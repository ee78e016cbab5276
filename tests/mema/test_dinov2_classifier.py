"""DINOv2 as a disease classifier, on small random weights that transformers itself wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2Model

from mema import classifier
from mema.dinov2_classifier import DEVIATION, MEAN, Dinov2Classifier
from mema.errors import UserError
from mema.weights import locate

CLASSES = ("normal", "red", "dark")


def photos(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Grey photos of which a quarter is reddened or darkened."""
    random = np.random.default_rng(seed)
    images = random.normal(140, 20, size=(count, 64, 64, 3))
    labels = [CLASSES[i % 3] for i in range(count)]
    for image, label in zip(images, labels, strict=True):
        top, left = random.integers(0, 32, 2)
        if label == "red":
            image[top : top + 32, left : left + 32, 0] += 90
        if label == "dark":
            image[top : top + 32, left : left + 32] -= 90
    return np.clip(images, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as facebook/dinov2-base is, of a network of two layers on 56 px."""
    path = tmp_path_factory.mktemp("weights") / "dinov2-base"
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def trained(folder: Path) -> classifier.Classifier:
    images, labels = photos(96, seed=0)
    settings = {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3}
    return classifier.fine_tune(images, labels, CLASSES, encoder="dinov2", init=folder, seed=3, **settings)


def test_it_learns_a_sign(trained: classifier.Classifier) -> None:
    assert isinstance(trained, Dinov2Classifier)
    images, labels = photos(60, seed=1)
    probabilities = classifier.predict(trained, images)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    right = [CLASSES[row.argmax()] == label for row, label in zip(probabilities, labels, strict=True)]
    assert np.mean(right) > 0.9


def test_it_starts_from_the_weights_and_moves_all_of_them(folder: Path) -> None:
    images, labels = photos(12, seed=2)
    arguments = {"encoder": "dinov2", "init": folder, "epochs": 2, "batch_size": 4}
    still = classifier.fine_tune(images, labels, CLASSES, learning_rate=1e-12, **arguments)
    moved = classifier.fine_tune(images, labels, CLASSES, **arguments)
    again = classifier.fine_tune(images, labels, CLASSES, **arguments)
    other = classifier.fine_tune(images, labels, CLASSES, seed=1, **arguments)
    for name, value in Dinov2Model.from_pretrained(folder).state_dict().items():
        assert torch.allclose(still.state_dict()[f"trunk.{name}"], value, atol=1e-7), name
        if name.endswith("weight"):
            assert not torch.equal(moved.state_dict()[f"trunk.{name}"], value), name
    for name, value in moved.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(moved.head.weight, other.head.weight)


def test_its_logits_are_those_of_transformers_classifier(folder: Path, trained: classifier.Classifier) -> None:
    theirs = Dinov2ForImageClassification.from_pretrained(folder, num_labels=3).eval()
    theirs.dinov2.load_state_dict(trained.trunk.state_dict())
    theirs.classifier.load_state_dict(trained.head.state_dict())
    pixels = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    with torch.inference_mode():
        expected = theirs((pixels - mean) / deviation).logits
        assert torch.allclose(trained(pixels), expected, atol=1e-5)


def test_it_starts_from_a_classifiers_folder_too(folder: Path, tmp_path: Path) -> None:
    theirs = Dinov2ForImageClassification.from_pretrained(folder, num_labels=1000)
    theirs.save_pretrained(tmp_path / "imagenet")
    ours = Dinov2Classifier.start(CLASSES, tmp_path / "imagenet")
    assert ours.head.out_features == 3
    for name, value in theirs.dinov2.state_dict().items():
        assert torch.equal(ours.trunk.state_dict()[name], value), name


def test_saved_weights_come_back(trained: classifier.Classifier, folder: Path, tmp_path: Path) -> None:
    images, _ = photos(6, seed=4)
    classifier.save(trained, tmp_path / "full.safetensors")
    classifier.save(trained, tmp_path / "half.safetensors", half=True)
    full, half = (classifier.load(tmp_path / f"{name}.safetensors") for name in ("full", "half"))
    assert isinstance(full, Dinov2Classifier) and full.classes == CLASSES
    np.testing.assert_array_equal(classifier.predict(full, images), classifier.predict(trained, images))
    np.testing.assert_allclose(classifier.predict(half, images), classifier.predict(trained, images), atol=0.05)
    with safe_open(tmp_path / "full.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert str(folder) not in json.dumps(metadata)


def test_photos_of_any_size_and_gradients_to_them(trained: classifier.Classifier) -> None:
    images = torch.rand(2, 3, 90, 70, requires_grad=True)
    logits = trained(images)
    assert logits.shape == (2, 3) and trained.embed(images).shape == (2, 64)
    logits.sum().backward()
    assert images.grad is not None and images.grad.abs().max() > 0


def test_what_is_missing_or_wrong_is_one_clear_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(init: Path | None) -> None:
        Dinov2Classifier.start(CLASSES, init)

    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"'dinov2-base' are missing: looked for .*facebook/dinov2-base.*Apache-2\.0"):
        locate("dinov2-base")
    with pytest.raises(UserError, match="never trained from nothing"):
        start(None)
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        start(tmp_path)

    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "vit"}))
    with pytest.raises(UserError, match="type 'vit', not 'dinov2'"):
        start(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="not a checkpoint that Dinov2Model opens"):
        start(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"weights are missing, layernorm\.weight first"):
        start(tmp_path)


def test_the_two_encoders_are_not_mistaken(trained: classifier.Classifier, tmp_path: Path) -> None:
    path = tmp_path / "dinov2.safetensors"
    classifier.save(trained, path)
    with pytest.raises(UserError, match="weights of the encoder 'dinov2', not 'small'"):
        classifier.fine_tune(*photos(6, seed=5), CLASSES, init=path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    save_file(tensors, path, metadata={**metadata, "encoder": "unheard-of"})
    with pytest.raises(UserError, match="not the weights of a disease classifier"):
        classifier.load(path)
