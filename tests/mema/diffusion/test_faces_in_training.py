"""Training that sees faces through the IP-Adapter: they count by their weight, and the LoRA is one like any other."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from generation.finetune import FinetuneConfig
from mema.diffusion.checkpoint import LORA_FILE, Generator, load_pipeline
from mema.diffusion.training import train

WATCHED = {"held_out": 0.3, "evaluate_every": 2}


@pytest.fixture
def seen(tiny_generator, photos, settings, tmp_path):
    """Train with faces of a seed and return curves and the LoRA's tensors."""

    def seen(name, *, faces=0, **changes):
        pipe = load_pipeline(Generator(tiny_generator / "sd", adapter=tiny_generator / "adapter"), device="cpu")
        width = pipe.image_encoder.config.projection_dim
        embedded = torch.randn(6, width, generator=torch.Generator().manual_seed(faces))
        curves = train(
            pipe,
            photos._replace(faces=embedded),
            settings.model_copy(update=changes),
            output=tmp_path / name / "output",
            private=tmp_path / name / "private",
            fingerprint="a",
        )
        return curves, load_file(tmp_path / name / "output" / LORA_FILE)

    return seen


def test_a_face_of_no_weight_changes_nothing(seen, run, settings, tmp_path):
    plain = run(tmp_path, settings.model_copy(update=WATCHED))
    curves, lora = seen("unseen", face_share=1.0, face_weight=(0.0, 0.0), **WATCHED)
    assert curves.losses == pytest.approx(plain.losses, rel=1e-4)
    assert curves.held_out == pytest.approx(plain.held_out, rel=1e-4)
    assert lora.keys() == load_file(tmp_path / "output" / LORA_FILE).keys()


def test_faces_and_how_many_see_them_count(seen):
    half, _ = seen("half", face_share=0.5, face_weight=(0.9, 0.9))
    assert seen("again", face_share=0.5, face_weight=(0.9, 0.9))[0] == half
    assert seen("all", face_share=1.0, face_weight=(0.9, 0.9))[0] != half
    assert seen("others", faces=1, face_share=0.5, face_weight=(0.9, 0.9))[0] != half


def test_faces_need_an_adapter_and_an_adapter_faces():
    with pytest.raises(ValidationError, match="belong together"):
        FinetuneConfig(face_share=0.5)
    with pytest.raises(ValidationError, match="belong together"):
        FinetuneConfig(adapter="phantom-ip-adapter")
