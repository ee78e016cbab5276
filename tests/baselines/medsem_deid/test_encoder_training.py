"""Enc_med's own training: each kind learns, is read by load_semantics, and goes on after a kill."""

from __future__ import annotations

import pytest
from transformers import ViTConfig, ViTMAEConfig

from baselines.medsem_deid.encoder_training import train_encoder
from baselines.medsem_deid.semantics import load_semantics, semantics_digest
from mema.diffusion.state import save_state
from mema.errors import UserError
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord

ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}
CONFIGS = {"vit": ViTConfig(**ENCODER), "mae": ViTMAEConfig(**ENCODER, **DECODER)}


def test_a_lora_of_the_unet(parameters, change, people, tmp_path):
    train_encoder(parameters, tmp_path, release=people.path)
    tuned = change(parameters, encoder={"tuned": str(tmp_path)}).encoder
    assert load_semantics(tuned).channels == 16
    assert semantics_digest(tuned) != semantics_digest(parameters.encoder)


@pytest.mark.parametrize("kind", ["vit", "mae"])
def test_a_vit_of_either_kind(parameters, change, people, tmp_path, kind, monkeypatch):
    CONFIGS[kind].save_pretrained(tmp_path / "init")
    asked = change(parameters, encoder={"kind": kind, "tuned": None, "weights": str(tmp_path / "one")})
    train_encoder(asked, tmp_path / "one", release=people.path, init=tmp_path / "init")
    assert load_semantics(asked.encoder).channels == 16

    def killed(*arguments):
        save_state(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mema.diffusion.state.save_state", killed)
        with pytest.raises(KeyboardInterrupt):
            train_encoder(asked, tmp_path / "two", release=people.path, init=tmp_path / "init")
    train_encoder(asked, tmp_path / "two", release=people.path, init=tmp_path / "init")
    weights = "model.safetensors"
    assert (tmp_path / "one" / weights).read_bytes() == (tmp_path / "two" / weights).read_bytes()


def test_a_start_of_another_kind_is_refused(parameters, change, people, tmp_path):
    CONFIGS["vit"].save_pretrained(tmp_path / "init")
    asked = change(parameters, encoder={"kind": "mae", "tuned": None})
    with pytest.raises(UserError, match="holds a vit, which is of another kind"):
        train_encoder(asked, tmp_path / "out", release=people.path, init=tmp_path / "init")


def test_photos_need_a_disease(parameters, people, tmp_path):
    nameless = [Face(FaceRecord(image_id="a", subject_id="a"), people.images()[0])]
    faces = write_imageset(tmp_path / "set", 1, lambda *_: nameless, config={})
    with pytest.raises(UserError, match="a has no disease"):
        train_encoder(parameters, tmp_path / "out", release=faces.path)
