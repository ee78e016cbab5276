"""A recogniser learns a handful of people in seconds; what the shipped ones know is tested in test_recognisers."""

import numpy as np
import pytest
import torch

from mema.errors import UserError
from mema.faces.phantom_recogniser import EmbeddingNet, embed_with, load_network, save_network
from mema.faces.training import LOSSES, train_recogniser


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_loss_pulls_people_apart(loss, phantoms):
    images, people, _ = phantoms

    def contrast(network):
        vectors = embed_with(network, images)
        cosine = vectors @ vectors.T
        same = people[:, None] == people[None]
        return cosine[same & ~np.eye(len(same), dtype=bool)].mean() - cosine[~same].mean()

    trained = train_recogniser(images, people.tolist(), loss, epochs=30, batch_size=24, seed=1)
    torch.manual_seed(1)
    assert contrast(trained) > contrast(EmbeddingNet().eval()) + 0.2


def test_the_same_seed_gives_the_same_bits(phantoms):
    images, people, _ = phantoms
    first, second = (train_recogniser(images, people.tolist(), epochs=1, batch_size=8, seed=4) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_saved_weights_come_back(phantoms, tmp_path):
    network = EmbeddingNet().eval()
    save_network(network, tmp_path / "weights.safetensors", {"loss": "none"})
    images = phantoms[0][:4]
    back = embed_with(load_network(tmp_path / "weights.safetensors"), images)
    np.testing.assert_allclose(back, embed_with(network, images), atol=0.02)


def test_what_is_wrong_is_one_clear_line(phantoms, tmp_path):
    images, people, _ = phantoms
    with pytest.raises(UserError, match="arcface"):
        train_recogniser(images, people.tolist(), "arcfase")
    with pytest.raises(UserError, match="two people"):
        train_recogniser(images[:2], [0, 0])
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken\.safetensors"):
        load_network(tmp_path / "broken.safetensors")
