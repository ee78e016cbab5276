"""Train the UNet of ``phantom-sd`` together with its IP-Adapter, and write both in diffusers' layout.

    python -m generation.phantom.training.unet --data runs/training/donors --vae runs/training/vae/vae \\
        --clip runs/training/clip --out runs/training/unet --steps 4000

writes ``phantom-sd/`` (a ``StableDiffusionPipeline``) and ``phantom-ip-adapter/`` (what its ``load_ip_adapter``
takes), averaged over steps, in half precision. Every second step trains the UNet without the adapter; in the others the
adapter reads *another* photo of the same donor (of which the last is a free one, never drawn itself) at a scale from
U[0.2, 0.6], so that at the paper's donor weights, U[0.2, 0.4] (MeMa, Section 3, Step 2), a donor's identity is injected
and not the photo copied.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generation.phantom.training import clip
from generation.phantom.training.captions import BEGINNING
from generation.phantom.training.data import Donors, load_donors
from generation.phantom.training.loop import (
    Average,
    argument_parser,
    contact_sheet,
    device_of,
    learning_rate,
    optimise,
    processes,
    train,
)
from generation.phantom.training.vae import LATENTS, latents_of
from mema.errors import run_script
from mema.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

    # diffusers imports its classes lazily, so a type checker sees nothing of them.
    AutoencoderKL = Any
    DDIMScheduler = Any
    StableDiffusionPipeline = Any
    UNet2DConditionModel = Any

SCALES = (0.2, 0.6)
"""Range of the adapter's scale in training."""

GAIN = 8.0
"""What the written adapter adds, of what the trained one does: at the paper's donor weights a network this small would
else keep too much of its patients (docs/generation.md)."""

NO_CAPTION, NO_DONOR = 0.1, 0.08
"""Shares of samples without a caption (for classifier-free guidance) and, with the adapter, without a donor."""

EVENLY, MIDDLE, SPREAD = 0.5, -0.5, 1.0
"""This share of the time steps is drawn evenly, the others as the logistic of a normal variable (Esser et al. 2024,
Section 3.1). Half of Stable Diffusion's schedule is nearly noise, from which only a photo's colours can be told: a face
takes shape in the other half, but without the first its background comes out in any colour."""

IMAGE_TOKENS = 4
ADAPTER_FILE = "ip-adapter_phantom.safetensors"


def build_unet() -> UNet2DConditionModel:
    """The untrained UNet for latents of 8 x 32 x 32: 32, 64 and 128 channels, text at the two lower levels."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENTS,
        out_channels=LATENTS,
        layers_per_block=1,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=clip.TEXT_WIDTH,
        attention_head_dim=2,
        norm_num_groups=16,
        time_embedding_dim=128,
    )


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule; the UNet predicts v (Salimans & Ho 2022).

    The last step is noise and nothing else (Lin et al. 2023, Section 3.1): otherwise a photo's mean colour is learnt
    from what shines through there, and a sample takes its colour cast from the noise it starts with.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
        rescale_betas_zero_snr=True,
    )


def add_adapter(unet: UNet2DConditionModel, embed_width: int) -> None:
    """Give ``unet`` an untrained IP-Adapter for image embeddings of ``embed_width`` numbers, ready to train."""
    import torch

    width, keys = unet.config.cross_attention_dim, {}
    for index, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            weight = unet.get_submodule(name.removesuffix(".processor")).to_v.weight
            for which in ("k", "v"):
                keys[f"{index}.to_{which}_ip.weight"] = torch.randn(weight.shape) * width**-0.5
    projection = {
        "proj.weight": torch.randn(IMAGE_TOKENS * width, embed_width) * embed_width**-0.5,
        "proj.bias": torch.zeros(IMAGE_TOKENS * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": keys}], low_cpu_mem_usage=False)
    unet.requires_grad_(True)


def set_scale(unet: UNet2DConditionModel, scale: float) -> None:
    """Weigh the donor by ``scale`` in every cross attention; 0 leaves the adapter out."""
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [scale]


def adapter_state(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """The adapter's weights under the names of IP-Adapter's own files, float16."""
    import torch

    state = {}
    for index, processor in enumerate(unet.attn_processors.values()):
        if hasattr(processor, "to_k_ip"):
            state[f"ip_adapter.{index}.to_k_ip.weight"] = processor.to_k_ip[0].weight
            state[f"ip_adapter.{index}.to_v_ip.weight"] = GAIN * processor.to_v_ip[0].weight
    projection = unet.encoder_hid_proj.image_projection_layers[0]
    for name, layer in (("proj", projection.image_embeds), ("norm", projection.norm)):
        state[f"image_proj.{name}.weight"], state[f"image_proj.{name}.bias"] = layer.weight, layer.bias
    return {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in state.items()}


def export_pipeline(unet: UNet2DConditionModel, vae: Path, encoders: Path, out: Path) -> StableDiffusionPipeline:
    """Write ``out/phantom-sd`` and ``out/phantom-ip-adapter`` in half precision, whole or not at all.

    ``unet`` carries the adapter; ``vae`` is a folder of ``AutoencoderKL``, ``encoders`` what ``clip`` wrote.
    """
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline
    from safetensors.torch import save_file
    from transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

    plain = build_unet()
    own = plain.state_dict()
    plain.load_state_dict({name: value for name, value in unet.state_dict().items() if name in own})
    size = {"shortest_edge": 128}
    pipeline: Any = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae),
        text_encoder=CLIPTextModel.from_pretrained(encoders / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(encoders / "tokenizer"),
        unet=plain,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(size=size, crop_size={"height": 128, "width": 128}),
        requires_safety_checker=False,
    )
    staged = out / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(staged / "phantom-sd", safe_serialization=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(encoders / "tokenizer" / name, staged / "phantom-sd" / "tokenizer" / name)
    models = staged / "phantom-ip-adapter" / "models"
    image_encoder: Any = CLIPVisionModelWithProjection.from_pretrained(encoders / "image_encoder")
    image_encoder.to(torch.float16).save_pretrained(models / "image_encoder")
    save_file(adapter_state(unet), models / ADAPTER_FILE)
    for name in ("phantom-sd", "phantom-ip-adapter"):
        shutil.rmtree(out / name, ignore_errors=True)
        (staged / name).rename(out / name)
    staged.rmdir()
    for file in out.glob("phantom-*/**/*.safetensors"):
        file.chmod(0o644)
    for file in out.glob("phantom-*/**/*encoder/config.json"):
        # transformers loads in the type that the configuration names: full precision, as the rest of the pipeline.
        write_json(file, read_json(file) | {"dtype": "float32"})
    return pipeline


def start_from(unet: UNet2DConditionModel, earlier: Path) -> None:
    """Copy into ``unet``, which carries an adapter, every weight of the same name and shape in ``earlier``.

    ``earlier`` holds ``phantom-sd`` and ``phantom-ip-adapter`` as :func:`export_pipeline` wrote them; other latents
    cost only the first and last layers.
    """
    from safetensors.torch import load_file

    found = load_file(earlier / "phantom-sd" / "unet" / "diffusion_pytorch_model.safetensors")
    adapter = load_file(earlier / "phantom-ip-adapter" / "models" / ADAPTER_FILE)
    for index, name in enumerate(unet.attn_processors):
        for which in ("k", "v"):
            key = f"ip_adapter.{index}.to_{which}_ip.weight"
            if key in adapter:
                found[f"{name}.to_{which}_ip.0.weight"] = adapter[key] / (GAIN if which == "v" else 1.0)
    for own, theirs in (("image_embeds", "proj"), ("norm", "norm")):
        for kind in ("weight", "bias"):
            name = f"encoder_hid_proj.image_projection_layers.0.{own}.{kind}"
            found[name] = adapter[f"image_proj.{theirs}.{kind}"]
    state = unet.state_dict()
    fits = {name: value.float() for name, value in found.items() if value.shape == state[name].shape}
    unet.load_state_dict(state | fits)


def kept_latents(path: Path, vae: AutoencoderKL, donors: Donors, device: Any) -> Tensor:
    """The training donors' latents as ``latents_of`` gives them, read from ``path`` if an earlier start left them."""
    from safetensors.torch import load_file, save_file

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{processes()[0]}")
        latents = latents_of(vae, donors.images[: donors.training], device)
        save_file({"latents": latents.cpu().contiguous()}, partial)
        partial.replace(path)
    return load_file(path)["latents"].to(device)


def sample(
    unet: UNet2DConditionModel,
    decode: Any,
    text: Tensor,
    no_text: Tensor,
    donors: Tensor,
    *,
    scale: float,
    guidance: float = 3.0,
    steps: int = 12,
    seed: int = 0,
) -> np.ndarray:
    """Images (N, H, W, 3) uint8 from text (N, L, D) and donors' embeddings (N, E) at one adapter scale, by DDIM."""
    import torch

    scheduler = build_scheduler()
    scheduler.set_timesteps(steps, device=text.device)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(text), LATENTS, 32, 32, generator=generator).to(text.device)
    set_scale(unet, scale)
    hidden = torch.cat([no_text.expand_as(text), text])
    embeds = {"image_embeds": [torch.cat([torch.zeros_like(donors), donors]).unsqueeze(1)]}
    with torch.no_grad():
        for time in scheduler.timesteps:
            both = unet(torch.cat([latents] * 2), time, hidden, added_cond_kwargs=embeds).sample
            free, told = both.chunk(2)
            latents = scheduler.step(free + guidance * (told - free), time, latents).prev_sample
        return decode(latents)


def train_unet(
    donors: Donors,
    vae_folder: Path,
    encoders: Path,
    out: Path,
    *,
    steps: int,
    batch: int,
    rate: float,
    device: Any,
    init: Path | None = None,
) -> None:
    """Train, keep ``out/checkpoint.pt``, and export the average with ``out/preview.png``.

    ``init`` holds an earlier export to start from. The decoder of ``vae_folder`` may still be training: it is read anew
    for each export.
    """
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    from generation.phantom.training.vae import to_images
    from mema.diffusion.objective import denoising_loss

    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(vae_folder).to(device).eval()
    text_encoder = CLIPTextModel.from_pretrained(encoders / "text_encoder").to(device).eval()
    image_encoder = CLIPVisionModelWithProjection.from_pretrained(encoders / "image_encoder").to(device).eval()
    tokenizer = CLIPTokenizer.from_pretrained(encoders / "tokenizer")
    latents = kept_latents(out / "latents.safetensors", vae, donors, device) * vae.config.scaling_factor
    embeds = clip.embed_images(image_encoder, donors.images, device)
    lines = donors.captions[: donors.training]
    ids = torch.stack([clip.tokenise(tokenizer, list(one)) for one in zip(*lines, strict=True)], 1).to(device)
    simple = clip.tokenise(tokenizer, [BEGINNING, ""]).to(device)
    with torch.no_grad():
        begun, nothing = text_encoder(simple).last_hidden_state.float()

    unet, shipped = build_unet(), build_unet()
    for model in (unet, shipped):
        add_adapter(model, embeds.shape[1])
        model.to(device)
    if init is not None:
        start_from(unet, init)
    average = Average(unet, 0.998)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    scheduler, generator = build_scheduler(), torch.Generator(device)
    rank, world = processes()

    def step(index: int) -> dict[str, Tensor]:
        generator.manual_seed(index * world + rank)
        chance = torch.rand(batch, 3, generator=generator, device=device)
        person = torch.randint(len(latents) // donors.photos, (batch,), generator=generator, device=device)
        clinical = torch.randint(donors.photos - 1, (batch,), generator=generator, device=device)
        first = person * donors.photos
        rows = first + clinical
        variant = torch.randint(ids.shape[1], (batch,), generator=generator, device=device)
        with torch.no_grad():
            text = text_encoder(ids[rows, variant]).last_hidden_state
            text = torch.where((chance[:, 0] < NO_CAPTION).view(-1, 1, 1), nothing, text.float())
        other = torch.randint(1, donors.photos, (batch,), generator=generator, device=device)
        donor = embeds[first + (clinical + other) % donors.photos]
        donor = donor * (chance[:, 1:2] >= NO_DONOR)
        with_donor = index % 2 == 1
        drawn = torch.sigmoid(MIDDLE + SPREAD * torch.randn(batch, generator=generator, device=device))
        drawn = torch.where(chance[:, 2] < EVENLY, torch.rand(batch, generator=generator, device=device), drawn)
        times = (drawn * scheduler.config.num_train_timesteps).long()
        noise = torch.randn(latents[rows].shape, generator=generator, device=device)
        set_scale(unet, float(np.random.default_rng(index).uniform(*SCALES)) if with_donor else 0.0)
        with torch.autocast(device.type, torch.bfloat16):
            loss = denoising_loss(
                unet, scheduler, latents[rows], text, times, noise, image_embeds=donor, snr_gamma=None
            )
        optimise(optimiser, loss, learning_rate(index, steps, rate, warmup=100))
        average.update(unet)
        return {"donor" if with_donor else "plain": loss.detach()}

    def export() -> None:
        average.apply(shipped)
        vae = AutoencoderKL.from_pretrained(vae_folder).to(device)
        export_pipeline(shipped, vae_folder, encoders, out)
        held_out = len(donors.images) - np.arange(8, 0, -1) * donors.photos
        text, codes = begun.expand(8, -1, -1), embeds[torch.from_numpy(held_out).to(device)]
        tiles = [np.asarray(donors.images[row]) for row in held_out]
        for scale in (0.0, 0.3):
            tiles += list(
                sample(
                    shipped,
                    lambda code: to_images(vae.decode(code / vae.config.scaling_factor).sample),
                    text,
                    nothing,
                    codes,
                    scale=scale,
                )
            )
        contact_sheet(tiles, 8, out / "preview.png")

    train(
        "unet",
        out / "checkpoint.pt",
        {"unet": unet, "optimiser": optimiser, "average": average},
        steps,
        step,
        export,
    )


def main() -> None:
    """Parse the command line and train."""
    parser = argument_parser(__doc__, steps=4_000, batch=16, rate=1.5e-3)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="folder of an earlier phantom-sd and phantom-ip-adapter")
    given = parser.parse_args()
    train_unet(
        load_donors(given.data),
        given.vae,
        given.clip,
        given.out,
        steps=given.steps,
        batch=given.batch,
        rate=given.rate,
        device=device_of(given.device),
        init=given.init,
    )


if __name__ == "__main__":
    run_script(main)
