"""Training: it learns, resumes to the bit, and is the same however its batches are shared or split."""

from __future__ import annotations

import multiprocessing
import time

import numpy as np
import pytest
import torch
from accelerate import debug_launcher
from safetensors.torch import load_file

from mema.build import Build
from mema.diffusion.checkpoint import Generator, load_pipeline
from mema.diffusion.settings import TrainingSettings
from mema.diffusion.training import STATE_FILE
from mema.errors import UserError

FULL = {"method": "full", "learning_rate": 1e-3}
WATCHED = {"held_out": 0.3, "evaluate_every": 2}


def written(folder):
    return {f.relative_to(folder): f.read_bytes() for f in sorted((folder / "output").rglob("*")) if f.is_file()}


@pytest.mark.parametrize("method", [{}, FULL], ids=["lora", "full"])
def test_the_loss_falls(run, settings, tmp_path, method):
    losses = run(tmp_path, settings.model_copy(update={"steps": 24, "snr_gamma": None, **method})).losses
    assert len(losses) == 24 and np.mean(losses[-8:]) < np.mean(losses[:8])


def test_the_seed_decides(run, settings, tmp_path):
    curves = run(tmp_path / "one", settings)
    assert run(tmp_path / "two", settings) == curves
    assert run(tmp_path / "other", settings.model_copy(update={"seed": 4})) != curves


@pytest.mark.parametrize(
    "change",
    [{}, {**FULL, **WATCHED}, {"accumulate": 2, "balance": "disease"}],
    ids=["lora", "full and held out", "in pieces"],
)
def test_a_killed_run_resumes_to_the_bit(run, settings, kill_at_step, tmp_path, change):
    settings = settings.model_copy(update=change)
    whole = run(tmp_path / "whole", settings)
    begun = kill_at_step(4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", settings)
    assert written(tmp_path / "killed") == {}
    assert run(tmp_path / "killed", settings) == whole
    assert begun == [0, 1, 2, 3, 4, 4, 5], "only what came after the last saved state is done again"
    assert written(tmp_path / "killed") == written(tmp_path / "whole") != {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a process cannot be forked once a GPU is in use")
def test_sigkill_loses_nothing_either(run, settings, tmp_path):
    settings = settings.model_copy(update={"steps": 8, "save_every": 1})
    threads = torch.get_num_threads()
    # A forked process has none of its parent's threads, and their number decides in which order floats are summed.
    torch.set_num_threads(1)
    try:
        whole = run(tmp_path / "whole", settings)
        victim = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path / "killed", settings))
        victim.start()
        while victim.is_alive() and not (tmp_path / "killed" / "private" / STATE_FILE).exists():
            time.sleep(0.002)
        victim.kill()
        victim.join()
        assert (tmp_path / "killed" / "private" / STATE_FILE).exists() and written(tmp_path / "killed") == {}
        assert run(tmp_path / "killed", settings) == whole
    finally:
        torch.set_num_threads(threads)
    assert written(tmp_path / "killed") == written(tmp_path / "whole")


def test_a_state_of_other_inputs_is_not_used(run, settings, tmp_path):
    run(tmp_path, settings)
    other = settings.model_copy(update={"seed": 9})
    assert run(tmp_path, other, fingerprint="b") == run(tmp_path / "new", other)


def first_moments(folder):
    return {k: v for k, v in load_file(folder / "private" / STATE_FILE).items() if k.startswith("exp_avg/")}


@pytest.mark.parametrize(
    "change",
    [{"accumulate": 2}, {"accumulate": 4}, {"gradient_checkpointing": True}],
    ids=["two pieces", "four pieces", "checkpointing"],
)
@pytest.mark.parametrize("method", [{}, FULL], ids=["lora", "full"])
def test_what_saves_memory_changes_no_gradient(run, settings, tmp_path, method, change):
    """Adam's first moments, since its steps would hide a gradient of the wrong size."""
    settings = settings.model_copy(update={**method, "steps": 2, "save_every": 1})
    whole = run(tmp_path / "whole", settings)
    cheap = run(tmp_path / "cheap", settings.model_copy(update=change))
    expected, found = first_moments(tmp_path / "whole"), first_moments(tmp_path / "cheap")
    assert expected.keys() == found.keys() and any(moment.any() for moment in expected.values())
    for name, moment in expected.items():
        assert torch.allclose(found[name], moment, rtol=1e-3, atol=1e-6), name
    assert cheap.losses == pytest.approx(whole.losses, rel=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="processes cannot be forked once a GPU is in use")
def test_two_processes_share_the_batch(run, settings, tmp_path):
    settings = settings.model_copy(update={**WATCHED, "steps": 2, "save_every": 1, "accumulate": 2})
    alone = run(tmp_path / "alone", settings)

    def share():
        torch.set_num_threads(1)
        curves = run(tmp_path / "shared", settings)
        assert curves.losses == pytest.approx(alone.losses, rel=1e-3)
        assert curves.held_out == pytest.approx(alone.held_out, rel=1e-3)
        with pytest.raises(UserError, match="a batch of 4 cannot be shared by 2 processes in 4 pieces each"):
            run(tmp_path / "refused", settings.model_copy(update={"accumulate": 4}))

    debug_launcher(share, num_processes=2)
    expected, found = first_moments(tmp_path / "alone"), first_moments(tmp_path / "shared")
    assert all(torch.allclose(found[name], moment, rtol=1e-3, atol=1e-6) for name, moment in expected.items())
    assert written(tmp_path / "shared").keys() == written(tmp_path / "alone").keys()


@pytest.mark.parametrize("method", [{}, FULL], ids=["lora", "full"])
def test_half_precision_learns_what_single_does(run, settings, tiny_generator, tmp_path, method):
    settings = settings.model_copy(update={**method, **WATCHED, "steps": 4})
    single = run(tmp_path / "single", settings)
    pipe = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    watched = {"precision": "bf16", "tracker": "tensorboard"}
    half = run(tmp_path / "half", settings.model_copy(update=watched), pipe=pipe, prompts=["scc"])
    assert half.losses != single.losses and half.losses == pytest.approx(single.losses, rel=0.05)
    assert half.held_out == pytest.approx(single.held_out, rel=0.05)
    kinds = {parameter.requires_grad: parameter.dtype for parameter in pipe.unet.parameters()}
    assert kinds[True] == torch.float32 and kinds.get(False, torch.bfloat16) == torch.bfloat16
    assert run(tmp_path / "again", settings).losses == single.losses, "precision is not kept from one run to the next"


def test_the_held_out_loss_is_of_the_model_as_it_is(run, settings, tmp_path):
    settings = settings.model_copy(update={**WATCHED, "learning_rate": 1e-12, "warmup": 6})
    still = run(tmp_path / "still", settings).held_out
    assert list(still) == [0, 2, 4, 6]
    assert list(still.values()) == pytest.approx([still[0]] * 4, rel=1e-6), "same noise, same steps of the schedule"
    moved = run(tmp_path / "moved", settings.model_copy(update={"learning_rate": 1e-2, "warmup": 0})).held_out
    assert moved[0] == still[0] and abs(moved[6] - moved[0]) > 1e-3


def test_held_out_photos_are_not_trained_on(run, settings, photos, tmp_path, tiny_generator):
    """The same training again, after the held-out subject's photos were replaced by noise."""
    from mema.diffusion.batches import hold_out
    from mema.diffusion.training import train

    settings = settings.model_copy(update={**WATCHED, "steps": 3})
    whole = run(tmp_path, settings)
    _, held = hold_out(photos.subjects, photos.captions, settings.held_out, settings.seed)
    latents = photos.latents.clone()
    latents[held] = torch.randn(latents[held].shape, generator=torch.Generator().manual_seed(0))
    places = {"output": tmp_path / "other" / "output", "private": tmp_path / "other" / "private"}
    pipe = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    other = train(pipe, photos._replace(latents=latents), settings, fingerprint="a", **places)
    assert other.losses == whole.losses and other.held_out != whole.held_out


def test_the_rate_warms_up_and_decays_to_nothing():
    settings = TrainingSettings(learning_rate=1.0, warmup=10)
    rates = [settings.rate_at(step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == 1.0 and rates[60] == pytest.approx(0.5)
    assert rates[-1] < 1e-3 and np.argmax(rates) in (9, 10)
    assert TrainingSettings().total_steps(320) == 100, "ten epochs of 320 photos in batches of 32"


def test_a_batch_that_cannot_be_split_is_an_error(tmp_path):
    (tmp_path / "build.yaml").write_text(
        "name: test\nclinic: eye_clinic\npaths: {private: p, runs: r}\nfinetune: {batch: 32, accumulate: 5}\n"
    )
    with pytest.raises(UserError, match=r"finetune: .*a batch of 32 cannot be split in 5 equal pieces"):
        Build.load(tmp_path / "build.yaml").check()
