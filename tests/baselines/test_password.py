"""The password network: it opens before it has learnt, is steered by its password, and a killed training goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from baselines.latent_code.code import save_code, with_inverse
from baselines.medsem_deid.measure import psnr
from baselines.password.method import Password, PasswordParameters, build_network, load_network
from baselines.password.network import BITS, HIDE, REVEAL, passwords_of
from baselines.password.objective import Discriminator, Outcome, losses
from baselines.password.train import train
from mema.classifier import as_tensor
from mema.errors import UserError
from mema.faces.phantom_recogniser import load_network as recogniser_network
from mema.weights import locate

CODE = locate("phantom-face-code")


def other_code(path: Path, numbers: int) -> Path:
    """Write a code of noise."""
    axes = np.random.default_rng(0).normal(size=(numbers, 3 * 12 * 12)).astype(np.float32)
    save_code(with_inverse(np.full(axes.shape[1], 0.5, np.float32), axes, np.zeros(numbers)), path, "noise")
    return path


def test_a_password_opens_before_anything_is_learnt_and_another_does_not(patients: np.ndarray) -> None:
    network, images = build_network(CODE), as_tensor(patients)
    right, wrong = passwords_of(["a", "b", "c"]), passwords_of(["a ", "b ", "c "])
    with torch.no_grad():
        hidden = (network.hide(images, right).clamp(0, 1) * 255).round() / 255
        assert (hidden - images).abs().mean() > 0.05
        assert (network.reveal(hidden, right) - images).abs().mean() < 0.02
        assert (network.reveal(hidden, wrong) - images).abs().mean() > 0.05


def test_the_shipped_weights_open_by_the_right_password_alone(patients: np.ndarray) -> None:
    method = Password(PasswordParameters())
    keys = ["one", "two", "three"]
    made = method.deidentify(patients, keys=keys, seed=0)
    right, near = method.recover(made, keys), method.recover(made, ["onf", "twp", "thref"])
    assert (psnr(patients, right) > 22).all() and psnr(patients, right).mean() > 30
    assert (psnr(patients, right) > np.maximum(psnr(patients, near), psnr(patients, made)) + 6).all()


def test_the_unet_is_steered_by_password_and_direction(patients: np.ndarray) -> None:
    unet = load_network(locate("phantom-password"), CODE).unet
    cells = functional.pixel_unshuffle(as_tensor(np.concatenate([patients, patients], axis=3)) * 2 - 1, 2)
    secrets = passwords_of(["a", "b", "c"])
    with torch.no_grad():
        drawn = [
            unet(cells, functional.pad(signs, (0, 1), value=way))
            for signs, way in ((secrets, HIDE), (secrets, REVEAL), (-secrets, HIDE))
        ]
    assert (drawn[0] - drawn[1]).abs().mean() > 1e-3
    assert (drawn[0] - drawn[2]).abs().mean() > 1e-3


def test_training_asks_for_the_photo_and_for_what_can_be_shown(patients: np.ndarray) -> None:
    network, photos = build_network(CODE), as_tensor(patients)
    recogniser = recogniser_network(locate("phantom-recognisers/arcface"))

    def terms(*drawn: torch.Tensor) -> dict[str, float]:
        made = losses(Outcome(photos, *drawn), recogniser, Discriminator(), torch.Generator().manual_seed(0))
        return {name: term.item() for name, term in made.items()}

    itself = terms(photos, photos, photos)
    assert itself["recover"] == 0 and itself["outside"] == 0 and itself["hidden"] > 0.7
    assert terms(photos + 1, photos + 0.5, photos)["outside"] > 0.1
    assert terms(photos, photos + 0.5, photos)["recover"] == pytest.approx(0.5)
    drawn = network.hide(photos, passwords_of(["a", "b", "c"]))
    assert terms(drawn.detach(), photos, photos)["hidden"] < 0.4
    # What is opened was rounded, and what hid it learns from that all the same.
    _, opened, _ = network(photos, passwords_of(["a", "b", "c"]), passwords_of(["d", "e", "f"]))
    (opened - photos).abs().mean().backward()
    assert network.unet.leave.weight.grad.abs().sum() > 0


def test_near_passwords_are_as_far_apart_as_any() -> None:
    signs = passwords_of(["secret", "secres", "Secret", ""])
    assert signs.shape == (4, BITS)
    assert set(signs.unique().tolist()) == {-1, 1}
    agreement = (signs @ signs.T / BITS)[~torch.eye(4, dtype=torch.bool)]
    assert agreement.abs().max() < 0.5


def test_a_killed_training_goes_on_to_the_same_weights(patients: np.ndarray, tmp_path: Path) -> None:
    settings = {"code": CODE, "batch": 2, "rate": 1e-3, "seed": 3}
    train(patients, tmp_path / "whole", steps=2, **settings)

    class Killed(Exception):
        pass

    class Counted(np.ndarray):
        """Photos that kill the run when more than ``most`` are drawn."""

        drawn, most = 0, 2

        def __getitem__(self, key: object) -> np.ndarray:
            if not isinstance(key, slice):
                Counted.drawn += 1
                if Counted.drawn > Counted.most:
                    raise Killed
            return np.asarray(self).__getitem__(key)

    from baselines.password import train as module

    module_save_every, module.SAVE_EVERY = module.SAVE_EVERY, 1
    try:
        with pytest.raises(Killed):
            train(patients.view(Counted), tmp_path / "parts", steps=2, **settings)
        Counted.drawn = 0
        train(patients.view(Counted), tmp_path / "parts", steps=2, **settings)
    finally:
        module.SAVE_EVERY = module_save_every
    assert Counted.drawn == 2, "what was learnt is not learnt again"
    whole, parts = (tmp_path / name / "weights.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert (tmp_path / "whole" / "preview.png").is_file()
    assert load_network(whole, CODE) is not None


def test_a_training_of_something_else_is_not_gone_on_with(patients: np.ndarray, tmp_path: Path) -> None:
    train(patients, tmp_path / "made", code=CODE, steps=1, batch=2, rate=1e-3, seed=3)
    with pytest.raises(UserError, match=r"checkpoint\.pt: trained on other photos or otherwise"):
        train(patients, tmp_path / "made", code=CODE, steps=2, batch=2, rate=1e-3, seed=4)
    with pytest.raises(UserError, match=r"checkpoint\.pt: trained on other photos or otherwise"):
        train(patients[:2], tmp_path / "made", code=CODE, steps=2, batch=2, rate=1e-3, seed=3)


def test_mistakes_are_one_line(patients: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"weights\.safetensors: not the weights of method 'password'"):
        Password(PasswordParameters(weights=str(tmp_path / "weights.safetensors")))
    with pytest.raises(UserError, match=r"short\.safetensors: a code of 9 numbers is turned by no password of 64 bits"):
        Password(PasswordParameters(code=str(other_code(tmp_path / "short.safetensors", 9))))
    with pytest.raises(UserError, match=r"phantom-password\.safetensors: trained round another face code than .*other"):
        Password(PasswordParameters(code=str(other_code(tmp_path / "other.safetensors", BITS))))
    with pytest.raises(UserError, match="1 keys were given for 3 images"):
        Password(PasswordParameters()).recover(patients, ["a"])
