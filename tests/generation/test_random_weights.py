"""Random weights in the published layout: counts, names, shapes and settings are those of the published files."""

from __future__ import annotations

import json
from math import prod

import pytest
import torch

from generation.random_weights import (
    VOCABULARY,
    build_models,
    published_shapes,
    random_tensors,
    write_settings,
)
from mema.taxonomy import load_taxonomy, taxonomies

# UNet: documentation of diffusers' num_parameters; text encoder and VAE: forums.fast.ai, topic 101515; image encoder:
# 632.08 M in the model card of h94/IP-Adapter; the adapter: 22 M there, 44.6 MB as float16.
PUBLISHED = {
    "unet": 859_520_964,
    "text_encoder": 123_060_480,
    "vae": 83_653_863,
    "image_encoder": 632_076_800,
    "ip_adapter": 22_319_616,
}


@pytest.fixture(scope="module")
def shapes():
    return published_shapes(build_models())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    write_settings(folder)
    return folder


def test_the_counts_are_the_published_ones(shapes):
    assert {part: sum(map(prod, tensors.values())) for part, tensors in shapes.items()} == PUBLISHED


def test_the_names_are_the_published_ones(shapes):
    """Where they differ from what the libraries would write today, and where a loader depends on them."""
    assert shapes["vae"]["decoder.mid_block.attentions.0.proj_attn.weight"] == (512, 512)
    assert not [name for name in shapes["vae"] if ".to_" in name]
    assert shapes["text_encoder"]["text_model.embeddings.token_embedding.weight"] == (49408, 768)
    assert shapes["image_encoder"]["visual_projection.weight"] == (1024, 1280)
    assert shapes["unet"]["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"] == (320, 768)
    adapter = shapes["ip_adapter"]
    assert adapter["image_proj.proj.weight"] == (3072, 1024) and adapter["image_proj.norm.weight"] == (768,)
    layers = {name.split(".")[1] for name in adapter if name.startswith("ip_adapter.")}
    assert layers == {str(number) for number in range(1, 32, 2)}, "16 cross attentions"
    # Numbered down, up, middle: the order of diffusers' attention processors.
    assert [adapter[f"ip_adapter.{n}.to_v_ip.weight"][0] for n in (1, 11, 13, 31)] == [320, 1280, 1280, 1280]


def test_the_libraries_read_the_settings(folder):
    from diffusers import PNDMScheduler
    from transformers import CLIPImageProcessor

    checkpoint = folder / "sd-v1-5"
    schedule = PNDMScheduler.from_pretrained(checkpoint / "scheduler").config
    assert (schedule.beta_schedule, schedule.prediction_type) == ("scaled_linear", "epsilon")
    assert CLIPImageProcessor.from_pretrained(checkpoint / "feature_extractor").crop_size == {
        "height": 224,
        "width": 224,
    }
    parts = [name for name in json.loads((checkpoint / "model_index.json").read_text()) if not name.startswith("_")]
    present = {path.name for path in checkpoint.iterdir() if path.is_dir()}
    assert present == {*parts} - {"safety_checker"}


def test_the_tokenizer_has_the_published_size_and_reads_every_prompt(folder):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "sd-v1-5" / "tokenizer")
    assert len(tokenizer) == VOCABULARY and tokenizer.model_max_length == 77
    assert tokenizer("a").input_ids == [49406, 320, 49407], "as CLIP's own tokenizer codes it"
    merges = (folder / "sd-v1-5" / "tokenizer" / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert len(merges) == 1 + 48_894
    clinics = [load_taxonomy(name) for name in taxonomies()]
    prompts = {clinic.prompt(code, level) for clinic in clinics for code in clinic.codes for level in clinic.levels}
    ids = {tuple(tokenizer(prompt, padding="max_length", truncation=True).input_ids) for prompt in prompts}
    assert len(ids) == len(prompts) and {len(row) for row in ids} == {77}
    assert tokenizer.decode(tokenizer("ünder 12 ☂").input_ids, skip_special_tokens=True).replace(" ", "") == "ünder12☂"


def test_random_tensors_keep_the_size_of_a_signal():
    shapes = {"norm.weight": (64,), "norm.bias": (64,), "layer.weight": (256, 400), "token_embedding.weight": (100, 64)}
    tensors = random_tensors(shapes, torch.float16, seed=3)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == shapes
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert torch.all(tensors["norm.weight"] == 1) and torch.all(tensors["norm.bias"] == 0)
    signal = torch.randn(32, 400)
    assert float((signal @ tensors["layer.weight"].float().T).std()) == pytest.approx(1, rel=0.1)
    again, other = (random_tensors(shapes, torch.float16, seed=seed)["layer.weight"] for seed in (3, 4))
    assert torch.equal(again, tensors["layer.weight"]) and not torch.equal(other, again)
