"""Train the tokenizer, the text encoder and the image encoder of ``phantom-sd`` on donors' photos and captions.

    python -m generation.phantom.training.clip --data runs/training/donors --out runs/training/clip --steps 800

writes ``tokenizer/``, ``text_encoder/`` (``CLIPTextModel``) and ``image_encoder/``
(``CLIPVisionModelWithProjection``). Its losses: photos against captions (CLIP, Radford et al. 2021); two photos of
one donor against everybody else's, on the projection, which so carries who it is and not how the photo was shot; from
the projection, too, the donor's traits as the phantom knows them; and for the text alone, the words of a caption or
of a clinic's prompt must be readable from its code, so that names of diseases, which no donor shows, keep codes of
their own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generation.phantom.training.captions import BEGINNING, prompts
from generation.phantom.training.data import Donors, load_donors
from generation.phantom.training.loop import Average, argument_parser, device_of, learning_rate, optimise, train
from mema.errors import run_script

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

TOKENS = 32
"""Length of every tokenised caption."""

VOCABULARY = 1024
TEXT_WIDTH = 128
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of CLIP's photos; what ``CLIPImageProcessor`` subtracts and divides by."""


def build_tokenizer(lines: list[str]) -> CLIPTokenizer:
    """A byte-level CLIP tokenizer of 1,024 entries whose merges are learnt on ``lines``; any text has tokens."""
    from tokenizers import Tokenizer, models, trainers
    from transformers import CLIPTokenizer

    untrained = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer, learner.pre_tokenizer = untrained.normalizer, untrained.pre_tokenizer
    letters = sorted(_byte_letters())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 - len(letters),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(lines, trainer)
    merges = _merges(learner)
    entries = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    entries = [*list(dict.fromkeys(entries))[: VOCABULARY - 2], "<|startoftext|>", "<|endoftext|>"]
    known = set(entries)
    return CLIPTokenizer(
        vocab={entry: number for number, entry in enumerate(entries)},
        merges=[pair for pair in merges if "".join(pair) in known],
        model_max_length=TOKENS,
    )


def _byte_letters() -> list[str]:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel.alphabet()


def _merges(learner: Any) -> list[Any]:
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [tuple(pair if isinstance(pair, list) else pair.split(" ")) for pair in merges]


def tokenise(tokenizer: CLIPTokenizer, lines: list[str]) -> Tensor:
    """Token ids (N, TOKENS) int64, padded and cut as Stable Diffusion does."""
    return tokenizer(lines, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def build_encoders(tokenizer: CLIPTokenizer) -> tuple[CLIPTextModel, CLIPVisionModelWithProjection]:
    """The untrained pair: text (3 layers, 128 wide) and image (128 px in patches of 16, 3 layers, 128 wide)."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=128,
        patch_size=16,
        projection_dim=128,
    )
    return CLIPTextModel(text), CLIPVisionModelWithProjection(image)


def pixel_values(images: Tensor) -> Tensor:
    """uint8 (N, 128, 128, 3) to what the image encoder reads, as ``CLIPImageProcessor`` does."""
    import torch

    mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / deviation


def shift_and_tint(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Move by up to 4 %, zoom by up to 5 % and change each channel's gain by up to 8 %."""
    import torch
    import torch.nn.functional as F

    count, device = len(pixels), pixels.device
    drawn = torch.rand(count, 6, generator=generator, device=device) * 2 - 1
    matrix = torch.zeros(count, 2, 3, device=device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 + 0.05 * drawn[:, 0]
    matrix[:, :, 2] = 0.08 * drawn[:, 1:3]
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return moved * (1 + 0.08 * drawn[:, 3:]).view(count, 3, 1, 1)


def contrast(first: Tensor, second: Tensor, temperature: Tensor) -> Tensor:
    """Symmetric InfoNCE of two (N, D) sets of codes whose rows belong together."""
    import torch
    import torch.nn.functional as F

    logits = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T * temperature.exp().clamp(max=60)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def embed_images(encoder: CLIPVisionModelWithProjection, images: np.ndarray, device: torch.device) -> Tensor:
    """``image_embeds`` (N, 128) float32 of uint8 images (N, 128, 128, 3)."""
    import torch

    with torch.no_grad():
        return torch.cat(
            [
                encoder(
                    pixel_values(torch.from_numpy(np.array(images[start : start + 64])).to(device))
                ).image_embeds.float()
                for start in range(0, len(images), 64)
            ]
        )


def retrieval(encoder: CLIPVisionModelWithProjection, donors: Donors, device: torch.device) -> float:
    """Of held-out donors' photos, the share whose nearest other photo shows the same donor."""
    import torch.nn.functional as F

    held_out = slice(donors.training, None)
    codes = F.normalize(embed_images(encoder, donors.images[held_out], device), dim=1)
    alike = (codes @ codes.T).fill_diagonal_(-1).argmax(dim=1).cpu().numpy()
    donor = np.arange(len(codes)) // donors.photos
    return float((donor[alike] == donor).mean())


def train_clip(donors: Donors, out: Path, *, steps: int, batch: int, rate: float, device: torch.device) -> None:
    """Train, keep ``out/checkpoint.pt`` and export the averages in transformers' layout."""
    import torch
    import torch.nn.functional as F
    from torch import nn
    from transformers import CLIPTokenizer

    torch.manual_seed(0)
    lines = donors.captions[: donors.training]
    clinic = prompts()
    if not (out / "checkpoint.pt").exists():
        tokenizer = build_tokenizer([line for four in lines for line in four[:4]] + clinic * 40)
        tokenizer.save_pretrained(out / "tokenizer")
        # The two plain files that readers of Stable Diffusion's own layout expect beside tokenizer.json.
        tokenizer.backend_tokenizer.model.save(str(out / "tokenizer"))
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    ids = torch.stack([tokenise(tokenizer, list(eight)) for eight in zip(*lines, strict=True)], 1).to(device)
    clinic_ids = tokenise(tokenizer, [*clinic, BEGINNING, ""]).to(device)

    encoders: Any = build_encoders(tokenizer)
    text, image = (model.to(device) for model in encoders)
    heads: Any = nn.ModuleDict(
        {
            "image": nn.Linear(image.config.hidden_size, TEXT_WIDTH),
            "text": nn.Linear(TEXT_WIDTH, TEXT_WIDTH),
            "words": nn.Linear(TEXT_WIDTH, len(tokenizer)),
            "traits": nn.Linear(image.config.projection_dim, donors.traits.shape[1]),
        }
    ).to(device)
    heads.register_parameter("temperatures", nn.Parameter(torch.full((2,), 2.7, device=device)))
    parts = nn.ModuleList([text, image, heads])
    average = Average(parts, 0.99)
    shipped: Any = nn.ModuleList([*build_encoders(tokenizer), heads]).to(device)
    optimiser = torch.optim.AdamW(parts.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    images = torch.from_numpy(np.array(donors.images[: donors.training]))
    images = images.to(device)
    people = donors.training // donors.photos
    mean, deviation = donors.traits[:people].mean(0), donors.traits[:people].std(0) + 1e-6
    traits = torch.from_numpy((donors.traits - mean) / deviation).clamp(-4, 4).to(device)
    generator = torch.Generator(device)

    def draw(high: int, count: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator, device=device)

    def words_loss(tokens: Tensor, pooled: Tensor) -> Tensor:
        present = torch.zeros(len(tokens), len(tokenizer), device=device).scatter_(1, tokens, 1.0)
        positive = torch.tensor(10.0, device=device)
        return F.binary_cross_entropy_with_logits(heads["words"](pooled).float(), present, pos_weight=positive)

    def step(index: int) -> dict[str, Tensor]:
        generator.manual_seed(index)
        who = torch.randperm(people, generator=generator, device=device)[:batch]
        first = draw(donors.photos, len(who))
        second = (first + 1 + draw(donors.photos - 1, len(who))) % donors.photos
        rows = torch.cat([who * donors.photos + first, who * donors.photos + second])
        pixels = shift_and_tint(pixel_values(images[rows]), generator)
        tokens = ids[rows, draw(ids.shape[1], len(rows))]
        extra = clinic_ids[draw(len(clinic_ids), len(who))]
        with torch.autocast(device.type, torch.bfloat16):
            seen = image.vision_model(pixel_values=pixels).pooler_output
            read = text(input_ids=torch.cat([tokens, extra])).pooler_output
            embeds = image.visual_projection(seen).float()
            told, pictured = heads["text"](read[: len(rows)]).float(), heads["image"](seen).float()
            guessed = heads["traits"](embeds)
            words = words_loss(torch.cat([tokens, extra]), read)
        half, temperatures = len(who), heads.temperatures
        identity = contrast(embeds[:half], embeds[half:], temperatures[0])
        caption = contrast(pictured, told, temperatures[1])
        person = F.mse_loss(guessed.float(), traits[who].repeat(2, 1))
        optimise(optimiser, identity + 2 * person + 0.5 * caption + words, learning_rate(index, steps, rate, warmup=50))
        average.update(parts)
        losses = {"identity": identity, "person": person, "caption": caption, "words": words}
        return {name: loss.detach() for name, loss in losses.items()}

    def export() -> None:
        average.apply(shipped)
        shipped[0].save_pretrained(out / "text_encoder")
        shipped[1].save_pretrained(out / "image_encoder")
        print(f"same donor nearest, held out: {retrieval(shipped[1], donors, device):.3f}", flush=True)

    kept = {"parts": parts, "optimiser": optimiser, "average": average}
    train("clip", out / "checkpoint.pt", kept, steps, step, export)


def main() -> None:
    """Parse the command line and train."""
    parser = argument_parser(__doc__, steps=800, batch=96, rate=1e-3)
    given = parser.parse_args()
    train_clip(
        load_donors(given.data),
        given.out,
        steps=given.steps,
        batch=given.batch,
        rate=given.rate,
        device=device_of(given.device),
    )


if __name__ == "__main__":
    run_script(main)
