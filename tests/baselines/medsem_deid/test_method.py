"""MedSem-DeID as a method, from its file of weights to the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from baselines.medsem_deid.cli import medsem
from baselines.medsem_deid.measure import psnr
from baselines.medsem_deid.method import MedSemDeID
from baselines.medsem_deid.training import train
from baselines.protocol import ReversibleDeidentifier
from baselines.registry import MethodConfig, load_method_config, make_method
from mema.errors import UserError

CONFIGS = Path(__file__).parents[3] / "configs" / "methods"


@pytest.fixture
def trained(parameters, people, tmp_path):
    short = parameters.model_copy(update={"schedule": parameters.schedule.model_copy(update={"steps": 1})})
    train(short, tmp_path / "model", release=people.path)
    return short.model_copy(update={"weights": str(tmp_path / "model")})


def test_it_keeps_the_contract(trained, people):
    method = MedSemDeID(trained)
    assert isinstance(method, ReversibleDeidentifier)
    images = people.images()[:3]
    before, keys = images.copy(), ["one", "two", "three"]
    encrypted = method.deidentify(images, keys=keys, seed=0)
    opened = method.recover(encrypted, keys)
    for made in (encrypted, opened):
        assert made.shape == images.shape and made.dtype == np.uint8
    assert np.array_equal(images, before)
    assert np.array_equal(encrypted, MedSemDeID(trained).deidentify(images, keys=keys, seed=1)), "the key is the secret"
    alone = [method.deidentify(images[i : i + 1], keys=keys[i : i + 1], seed=0)[0] for i in range(3)]
    assert np.array_equal(encrypted, alone)
    assert not np.array_equal(encrypted[0], method.deidentify(images[:1], keys=["onf"], seed=0)[0])
    assert not np.array_equal(opened[0], method.recover(encrypted[:1], ["onf"])[0])
    assert method.deidentify(images[:0], keys=[], seed=0).shape == (0, 32, 32, 3)
    with pytest.raises(UserError, match="1 keys were given for 3 images"):
        method.recover(encrypted, ["one"])


def test_without_keys_the_seed_decides(trained, people):
    method, images = MedSemDeID(trained), people.images()[:2]
    one = method.deidentify(images, keys=None, seed=0)
    assert np.array_equal(one, method.deidentify(images, keys=None, seed=0))
    assert not np.array_equal(one, method.deidentify(images, keys=None, seed=1))


def test_photos_of_any_size(trained):
    images = np.random.default_rng(0).integers(0, 256, (1, 50, 41, 3), dtype=np.uint8)
    assert MedSemDeID(trained).deidentify(images, keys=["a"], seed=0).shape == images.shape


def test_weights_that_do_not_fit_are_refused(trained, change, tiny_generator, people, tmp_path):
    images = people.images()[:1]

    def fails(parameters, message):
        with pytest.raises(UserError, match=message):
            MedSemDeID(parameters).deidentify(images, keys=["a"], seed=0)

    fails(change(trained, network={"layers": 2}), "trained with network.layers 1, not 2")
    fails(trained.model_copy(update={"weights": str(tmp_path)}), "it is made by: mema medsem train")
    import shutil

    shutil.copytree(tiny_generator / "sd", tmp_path / "sd")
    (tmp_path / "sd" / "extra.safetensors").write_bytes(b"another model")
    fails(change(trained, encoder={"weights": str(tmp_path / "sd")}), "beside another encoder")
    (tmp_path / "model" / "medsem.safetensors").write_bytes(b"{}")
    fails(trained, "not the weights of a MedSem-DeID")


def test_without_f_med_no_encoder_is_needed(parameters, change, people, tmp_path):
    alone = change(parameters, network={"medical": False}, schedule={"steps": 1})
    train(alone, tmp_path, release=people.path)
    alone = change(alone, encoder={"weights": "nowhere"}).model_copy(update={"weights": str(tmp_path)})
    images = people.images()[:1]
    assert MedSemDeID(alone).deidentify(images, keys=["a"], seed=0).shape == images.shape


@pytest.mark.parametrize("name", ["medsem-deid", "medsem-deid-phantom"])
def test_the_configurations_are_of_this_method(name):
    method = make_method(load_method_config(CONFIGS / f"{name}.yaml"))
    assert (method.name, method.reversible, method.prior) == ("medsem-deid", True, "Med-Knowledge")


def test_the_phantom_sized_file_is_small():
    from baselines.medsem_deid.latent import FROZEN, build_network

    settings = make_method(load_method_config(CONFIGS / "medsem-deid-phantom.yaml")).parameters.network
    own = build_network(settings, 32).state_dict()
    assert 2 * sum(value.numel() for name, value in own.items() if not name.startswith(FROZEN)) <= 4_000_000


def test_the_shipped_weights_open_by_the_right_password_alone(patients):
    method = make_method(load_method_config(CONFIGS / "medsem-deid-phantom.yaml"))
    keys = ["one", "two", "three"]
    made = method.deidentify(patients, keys=keys, seed=0)
    right, wrong, near = (method.recover(made, k) for k in (keys, [*keys[1:], keys[0]], ["onf", "twn", "thref"]))
    for other in (made, wrong, near):
        assert (psnr(patients, right) > psnr(patients, other) + 2).all()


def test_what_the_vae_loses_is_published_and_given_back(patients):
    config = load_method_config(CONFIGS / "medsem-deid-phantom.yaml")
    keys = ["one", "two", "three"]
    fine, opened = {}, {}
    for detail in (False, True):
        method = make_method(config.model_copy(update={"parameters": config.parameters | {"detail": detail}}))
        made = method.deidentify(patients, keys=keys, seed=0)
        fine[detail], opened[detail] = finest(made), psnr(patients, method.recover(made, keys))
    likeness = {detail: np.corrcoef(finest(patients).ravel(), shown.ravel())[0, 1] for detail, shown in fine.items()}
    assert likeness[True] > likeness[False] + 0.3
    assert (opened[True] > opened[False] + 1).all()


def test_detail_is_beside_latents(parameters):
    config = MethodConfig(method="medsem-deid", parameters=parameters.model_dump() | {"detail": True})
    with pytest.raises(UserError, match=r"^method 'medsem-deid': detail is what .* needs network\.latents$"):
        make_method(config)


def finest(images):
    """What is lost at half the size, float (N, H, W, 3)."""
    values = images.astype(float)
    count, height, width, channels = values.shape
    halves = values.reshape(count, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return values - halves.repeat(2, axis=1).repeat(2, axis=2)


def test_the_commands_train_and_measure(parameters, people, tmp_path):
    config = {"method": "medsem-deid", "parameters": parameters.model_dump(mode="json")}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    given = ["--config", str(tmp_path / "tiny.yaml")]
    made = CliRunner().invoke(
        medsem,
        ["train", *given, "--release", str(people.path), "--out", str(tmp_path / "model")],
        catch_exceptions=False,
    )
    assert made.exit_code == 0
    arguments = [
        "--images",
        str(people.path),
        "--weights",
        str(tmp_path / "model"),
        "--recogniser",
        "phantom-sphereface",
    ]
    shown = CliRunner().invoke(
        medsem,
        ["measure", *given, *arguments, "--judge", "phantom-judge/eye_clinic", "--sheet", str(tmp_path / "s.png")],
        catch_exceptions=False,
    )
    lines = shown.output.splitlines()
    assert lines[0] == "6 photos of 3 people"
    assert [line.split(":")[0] for line in lines[1:5]] == [
        f"phantom-sphereface {name}" for name in ("encrypted", "right", "wrong", "near")
    ]
    assert sum(line.startswith("PSNR") for line in lines) == 4 and sum(line.startswith("top-1") for line in lines) == 5
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == (6 * 32, 5 * 32)


def test_psnr_is_in_decibel():
    black, grey = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 16, np.uint8)
    assert psnr(black, grey)[0] == pytest.approx(20 * np.log10(255 / 16))
