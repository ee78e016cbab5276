import numpy as np
import pytest
import torch

from mema import classifier
from mema.errors import UserError

CLASSES = ("normal", "red", "drooping")


def photos(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Grey photos in which a small red disc, or a dark bar, stands for a sign."""
    random = np.random.default_rng(seed)
    images = np.clip(random.normal(140, 20, size=(count, 128, 128, 3)), 0, 255)
    labels = [CLASSES[i % 3] for i in range(count)]
    for image, label in zip(images, labels, strict=True):
        top, left = random.integers(30, 80, 2)
        if label == "red":
            image[top : top + 14, left : left + 14, 0] += 80
        if label == "drooping":
            image[top : top + 6, left : left + 30] -= 80
    return np.clip(images, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def trained():
    images, labels = photos(96, seed=0)
    return classifier.fine_tune(images, labels, CLASSES, epochs=6, seed=3, batch_size=16)


def test_it_learns_a_sign(trained):
    images, labels = photos(60, seed=1)
    probabilities = classifier.predict(trained, images)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    right = [CLASSES[row.argmax()] == label for row, label in zip(probabilities, labels, strict=True)]
    assert np.mean(right) > 0.9


def test_the_same_seed_gives_the_same_bits():
    images, labels = photos(24, seed=2)
    first, second, other = (
        classifier.fine_tune(images, labels, CLASSES, epochs=1, seed=seed, batch_size=8) for seed in (0, 0, 1)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first.head.weight, other.head.weight)


def test_training_leaves_the_callers_random_numbers_alone():
    images, labels = photos(4, seed=2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    classifier.fine_tune(images, labels, CLASSES, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_saved_weights_come_back(trained, tmp_path):
    images, _ = photos(6, seed=4)
    classifier.save(trained, tmp_path / "full.safetensors")
    classifier.save(trained, tmp_path / "half.safetensors", half=True)
    full, half = (classifier.load(tmp_path / f"{name}.safetensors") for name in ("full", "half"))
    assert full.classes == CLASSES
    np.testing.assert_array_equal(classifier.predict(full, images), classifier.predict(trained, images))
    np.testing.assert_allclose(classifier.predict(half, images), classifier.predict(trained, images), atol=0.02)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * (tmp_path / "full.safetensors").stat().st_size


def test_fine_tuning_starts_from_init(trained, tmp_path):
    classifier.save(trained, tmp_path / "start.safetensors")
    images, labels = photos(12, seed=5)
    settings = {"init": tmp_path / "start.safetensors", "epochs": 1, "learning_rate": 1e-6}
    same = classifier.fine_tune(images, labels, CLASSES, **settings)
    assert torch.allclose(same.head.weight, trained.head.weight, atol=1e-4)
    more = classifier.fine_tune(images, labels, (*CLASSES, "other"), **settings)
    assert more.head.out_features == 4
    assert torch.allclose(more.features[0][0].weight, trained.features[0][0].weight, atol=1e-4)


def test_what_is_wrong_is_one_clear_line(tmp_path):
    images, labels = photos(6, seed=6)
    with pytest.raises(UserError, match="'drooping' is not one of"):
        classifier.fine_tune(images, labels, ("normal", "red"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"broken\.safetensors"):
        classifier.load(broken)
    with pytest.raises(UserError, match="no such file"):
        classifier.load(tmp_path / "absent.safetensors")
