"""MedSem-DeID beside a generator's VAE: what a password does before anything is learnt, training and its file."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from baselines.medsem_deid import training
from baselines.medsem_deid.latent import LatentMedSem, build_network
from baselines.medsem_deid.method import MedSemDeID
from baselines.medsem_deid.model_file import FILE
from baselines.medsem_deid.networks import to_signal
from baselines.medsem_deid.settings import NetworkSettings
from baselines.medsem_deid.training import train
from mema.errors import UserError

COMPONENTS = 5


@pytest.fixture
def latent(parameters, change, tiny_generator):
    """The settings of a training of seconds, in the latents of the tiny generator."""
    own = {"latents": str(tiny_generator / "sd"), "password_code": COMPONENTS, "patch": 8, "widths": (32,)}
    return change(parameters, network={**own, "password_added": False})


@pytest.fixture
def network(latent, people) -> LatentMedSem:
    network = build_network(latent.network, 16)
    network.fit(people.images(), mirrored=True)
    return network


def passwords(count: int) -> torch.Tensor:
    return torch.randn(count, 512, generator=torch.Generator().manual_seed(0)).sign()


def test_the_code_is_what_differs_most_between_photos(network, people):
    basis = network.basis
    assert torch.allclose(basis @ basis.T, torch.eye(COMPONENTS), atol=1e-5)
    both = np.concatenate([people.images(), people.images()[:, :, ::-1]])
    with torch.no_grad():
        tokens = network.read(to_signal(torch.from_numpy(both)), torch.zeros(12, 16, 4, 4))
    numbers = tokens[:, : network.channels].flatten(1)
    spread = ((numbers - network.mean) @ basis.T).square().mean(dim=0)
    assert (spread.diff() <= 1e-4 * spread[0]).all() and spread[0] > 0


def test_a_password_turns_the_code_and_takes_it_back(network):
    tokens = torch.randn(2, network.channels, network.grid, network.grid, generator=torch.Generator().manual_seed(1))
    right, wrong = passwords(4).chunk(2)
    turned = network.turn(tokens, right)
    assert not torch.allclose(turned, tokens, atol=1e-2)
    assert torch.allclose(network.turn(turned, right), tokens, atol=1e-4)
    assert not torch.allclose(network.turn(turned, wrong), tokens, atol=1e-2)


def test_before_it_learns_only_the_right_password_opens(network, people):
    images = to_signal(torch.from_numpy(people.images()[:2]))
    right, wrong = passwords(4).chunk(2)
    with torch.no_grad():
        features = network.read(images, torch.zeros(2, 16, 4, 4))
        tokens = features[:, : network.channels]
        shown = network.vae.decode(torch.nn.functional.pixel_shuffle(tokens, network.fold) / network.scale).sample
        turned = torch.cat([network.turn(tokens, right), features[:, network.channels :]], dim=1)
        assert torch.allclose(network.decrypt(turned, right), shown, atol=1e-4)
        assert not torch.allclose(network.decrypt(turned, wrong), shown, atol=1e-3)


def test_too_few_photos_for_the_code_are_refused(latent, people):
    network = build_network(latent.network.model_copy(update={"password_code": 12}), 16)
    with pytest.raises(UserError, match="password_code 12 needs more than 12 photos, not 12"):
        network.fit(people.images(), mirrored=True)


def test_a_killed_training_resumes_and_its_file_opens(latent, change, people, tmp_path):
    train(change(latent, schedule={"steps": 4}), tmp_path / "whole", release=people.path)
    train(change(latent, schedule={"steps": 2}), tmp_path / "parts", release=people.path)
    train(change(latent, schedule={"steps": 4}), tmp_path / "parts", release=people.path)
    file = tmp_path / "parts" / FILE
    assert file.read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    images, keys = people.images()[:2], ["one", "two"]
    method = MedSemDeID(latent.model_copy(update={"weights": str(file)}))
    made = method.deidentify(images, keys=keys, seed=0)
    assert made.shape == images.shape and not np.array_equal(made, images)
    assert not np.array_equal(method.recover(made, keys), method.recover(made, keys[::-1]))


def test_detail_needs_no_other_training_and_is_for_photos_of_any_size(latent, change, people, tmp_path, monkeypatch):
    short = change(latent, schedule={"steps": 1})
    train(short, tmp_path / "model", release=people.path)
    fine = short.model_copy(update={"detail": True, "weights": str(tmp_path / "model")})
    monkeypatch.setattr(training, "draw_batch", lambda *_: pytest.fail("trained again"))
    train(fine, tmp_path / "model", release=people.path)
    images = np.random.default_rng(0).integers(0, 256, (1, 50, 41, 3), dtype=np.uint8)
    made = [
        MedSemDeID(one).deidentify(images, keys=["a"], seed=0)
        for one in (fine, fine.model_copy(update={"detail": False}))
    ]
    assert made[0].shape == images.shape and not np.array_equal(*made)


def test_weights_beside_another_generator_are_refused(latent, change, people, tiny_generator, tmp_path):
    shutil.copytree(tiny_generator / "sd", tmp_path / "sd")
    moved = change(latent, network={"latents": str(tmp_path / "sd")}, schedule={"steps": 1})
    file = train(moved, tmp_path / "model", release=people.path)
    (tmp_path / "sd" / "vae" / "extra.safetensors").write_bytes(b"another model")
    with pytest.raises(UserError, match="beside other weights of"):
        MedSemDeID(moved.model_copy(update={"weights": str(file)})).deidentify(people.images()[:1], keys=["a"], seed=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latents": None}, "go together"),
        ({"password_code": 0}, "go together"),
        ({"widths": (16, 32), "patch": 4}, "one width"),
    ],
)
def test_settings_that_cannot_be_are_refused(latent, values, message):
    with pytest.raises(ValueError, match=message):
        NetworkSettings.model_validate(latent.network.model_dump() | values)


def test_a_token_holds_whole_latents(latent):
    with pytest.raises(UserError, match="a patch of 1 pixels"):
        build_network(latent.network.model_copy(update={"patch": 1}), 16)
