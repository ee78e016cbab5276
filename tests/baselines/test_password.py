"""The password network: inverted by construction, steered by its password, trained so that a killed run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.password.method import Password, PasswordParameters, load_network
from baselines.password.network import BITS, PasswordNetwork, passwords_of
from baselines.password.train import train
from mema.errors import UserError


def test_the_right_password_inverts_any_network() -> None:
    torch.manual_seed(0)
    network, images = PasswordNetwork(), torch.rand(3, 3, 64, 64)
    right, wrong = passwords_of(["a", "b", "c"]), passwords_of(["a ", "b ", "c "])
    with torch.no_grad():
        hidden = network.hide(images, right)
        assert (hidden - images).abs().mean() > 0.01, "an untrained network must change something"
        assert (network.reveal(hidden, right) - images).abs().max() < 1e-3
        assert (network.reveal(hidden, wrong) - images).abs().mean() > 1e-3


def test_near_passwords_are_as_far_apart_as_any() -> None:
    signs = passwords_of(["secret", "secres", "Secret", ""])
    assert signs.shape == (4, BITS)
    assert set(signs.unique().tolist()) == {-1, 1}
    agreement = (signs @ signs.T / BITS)[~torch.eye(4, dtype=torch.bool)]
    assert agreement.abs().max() < 0.5


def test_a_killed_training_goes_on_to_the_same_weights(patients: np.ndarray, tmp_path: Path) -> None:
    settings = {"batch": 2, "rate": 1e-3, "seed": 3}
    train(patients, tmp_path / "whole", steps=2, **settings)

    class Killed(Exception):
        pass

    class OneStep(np.ndarray):
        """Photos that kill the run when the second batch is drawn."""

        drawn = 0

        def __getitem__(self, key: object) -> np.ndarray:
            if not isinstance(key, slice):
                OneStep.drawn += 1
                if OneStep.drawn > 2:
                    raise Killed
            return np.asarray(self).__getitem__(key)

    from baselines.password import train as module

    module_save_every, module.SAVE_EVERY = module.SAVE_EVERY, 1
    try:
        with pytest.raises(Killed):
            train(patients.view(OneStep), tmp_path / "parts", steps=2, **settings)
        train(patients, tmp_path / "parts", steps=2, **settings)
    finally:
        module.SAVE_EVERY = module_save_every
    whole, parts = (tmp_path / name / "weights.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert (tmp_path / "whole" / "preview.png").is_file()
    assert load_network(whole) is not None


def test_mistakes_are_one_line(patients: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"weights\.safetensors: not the weights of method 'password'"):
        Password(PasswordParameters(weights=str(tmp_path / "weights.safetensors")))
    with pytest.raises(UserError, match=r"weights 'phantom-password' are missing: looked for .*phantom-password"):
        Password(PasswordParameters())
    train(patients, tmp_path / "made", steps=1, batch=2, rate=1e-3, seed=3)
    with pytest.raises(UserError, match="1 keys were given for 3 images"):
        Password(PasswordParameters(weights=str(tmp_path / "made" / "weights.safetensors"))).recover(patients, ["a"])
