r"""Train the shipped promptable segmenter: a ``SamModel`` of transformers, 128 px, small enough for a CPU.

    python -m generation.phantom.training.segmenter --data runs/training/lesions --out weights/phantom-segmenter

renders the photos once (``segmenter_data``), trains, and writes model and image processor as ``SamModel`` and
``SamProcessor`` open them, in half precision. As in SAM (Kirillov et al. 2023, appendix A) a step sees one prompt of an
object: a click, a box around it, or clicks inside and outside; the predicted IoU learns the IoU reached. Unlike there,
a click beside every lesion is a prompt too, whose IoU is 0: so the predicted IoU also says whether something is there.

Most steps see crops, which cost a fraction of a photo: a place keeps its position in the whole photo there.
``mema phantom segmenter`` says how it does on unseen patients.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from generation.phantom.training.loop import Average, argument_parser, device_of, learning_rate, optimise, train
from generation.phantom.training.segmenter_data import SIZE, SKIN, TURNS, Lesions, rendered_lesions
from mema.errors import run_script

if TYPE_CHECKING:
    from torch import Tensor

    # transformers imports its classes lazily, so a type checker sees nothing of them.
    SamModel = Any

PATCH = 4
WIDTH = 64
CROPS = ((0.5, 32, 2.0), (0.9, 64, 1.0), (1.0, 128, 0.375))
"""Until which share of the steps crops have which side in pixels, and how many of them a step sees, in batches."""
FREQUENCY = 2.0
"""Spread of the frequencies that code a place, in cycles across half a photo: a click's code fades over 6 px."""
BESIDE = 0.2
"""Share of clicks that lie beside every lesion."""
SMALLEST = 12
"""Pixels of the smallest patch of diseased skin that is an object; the others are neither object nor background."""
IGNORED = 255
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Sample(NamedTuple):
    """A batch: ``pixels`` float (N, 3, S, S) as the image processor makes them, crops' ``corner`` (N, 2) in patches,
    ``target`` float (N, S, S), ``points`` float (N, K, 2), (x, y) in pixels of the photo, ``labels`` (N, K) as SAM
    numbers them, ``beside`` bool (N,): the click is on no object."""

    pixels: Tensor
    corner: Tensor
    target: Tensor
    points: Tensor
    labels: Tensor
    beside: Tensor


def build() -> SamModel:
    """The untrained model, float32: three layers of 64 channels, one of them global, and one mask for a click.

    A random network would first have to learn where things are. So places are coded by sines from the start, in the
    encoder as in the decoder, and queries and keys begin alike: what is near attends to one another.
    """
    import torch
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": WIDTH,
            "output_channels": WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": PATCH,
            "mlp_ratio": 2.0,
            "use_rel_pos": False,
            "window_size": 8,
            "global_attn_indexes": [1],
            "num_pos_feats": WIDTH // 2,
        },
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": SIZE, "patch_size": PATCH},
        mask_decoder_config={
            "hidden_size": WIDTH,
            "mlp_dim": 2 * WIDTH,
            "num_attention_heads": 4,
            "num_multimask_outputs": 1,
            "iou_head_hidden_dim": WIDTH,
        },
    )
    torch.manual_seed(0)
    model: Any = SamModel(config)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if hasattr(module, "qkv"):
            module.qkv.weight.data[WIDTH : 2 * WIDTH] = module.qkv.weight.data[:WIDTH]
        if hasattr(module, "q_proj"):
            module.k_proj.weight.data.copy_(module.q_proj.weight.data)
    frequencies = model.shared_image_embedding.positional_embedding
    frequencies.data.normal_(std=FREQUENCY)
    frequencies.requires_grad_(False)
    model.prompt_encoder.shared_embedding.positional_embedding = frequencies
    places = model.get_image_wide_positional_embeddings().permute(0, 2, 3, 1)
    model.vision_encoder.pos_embed.data.copy_(places)
    return model


def objects(lesions: Lesions) -> np.ndarray:
    """Return what can be prompted, uint8 (N, S, S): a tumour is 1 as a whole, patches of diseased skin count from 1."""
    from scipy.ndimage import label

    found = np.zeros(lesions.masks.shape, np.uint8)
    for row, mask in enumerate(lesions.masks):
        if TURNS[row % len(TURNS)] in SKIN:
            patches, count = label(mask, np.ones((3, 3)))
            sizes = np.bincount(patches.ravel(), minlength=count + 1)
            names = np.zeros(count + 1, np.uint8)
            large = [patch for patch in range(1, count + 1) if sizes[patch] >= SMALLEST][: IGNORED - 1]
            names[1:] = IGNORED
            names[large] = np.arange(1, len(large) + 1)
            found[row] = names[patches]
        else:
            found[row] = mask
    return found


def draw(
    lesions: Lesions, found: np.ndarray, rows: np.ndarray, kind: str, side: int, rng: np.random.Generator
) -> Sample:
    """Draw an object of each photo of ``rows`` and a prompt of ``kind`` (click, box, clicks) in crops of ``side``."""
    import torch

    pixels, targets, corners, points, labels, beside = [], [], [], [], [], []
    for row in rows:
        image, names = lesions.images[row], found[row]
        if rng.random() < 0.5:
            image, names = image[:, ::-1], names[:, ::-1]
        present = np.setdiff1d(names, (0, IGNORED))
        target = names == rng.choice(present) if len(present) else np.zeros_like(names, bool)
        off = not target.any() or (kind == "click" and rng.random() < BESIDE)
        first = _pixel(names == 0, rng) if off else _inside(target, rng)
        if kind == "box":
            y, x = np.nonzero(target) if target.any() else (first[1:], first[:1])
            box = np.array([[x.min(), y.min()], [x.max(), y.max()]], float)
            given, said = box + rng.normal(0, 0.05, (2, 2)) * (1 + box[1] - box[0]), [2, 3]
        elif kind == "clicks" and not off:
            given = np.stack([first, _inside(target, rng), _near(target, names, rng)])
            said = [1, 1, 0]
        else:
            given, said = first[None], [1]
        corner = _corner(first, side, rng)
        x, y = corner * PATCH
        pixels.append(_varied(image[y : y + side, x : x + side], rng))
        targets.append(target[y : y + side, x : x + side])
        corners.append(corner)
        points.append(np.pad(given.astype(float), ((0, 3 - len(given)), (0, 0))))
        labels.append(said + [-10] * (3 - len(said)))
        beside.append(off)
    keep = {"click": 1, "box": 2, "clicks": 3}[kind]
    return Sample(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(np.stack(corners)),
        torch.from_numpy(np.stack(targets).astype(np.float32)),
        torch.from_numpy(np.stack(points).astype(np.float32))[:, :keep],
        torch.from_numpy(np.array(labels))[:, :keep],
        torch.from_numpy(np.array(beside)),
    )


def _pixel(where: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y, x = np.nonzero(where)
    one = rng.integers(len(x))
    return np.array([x[one], y[one]])


def _inside(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pixel of the object: half the time any, half the time one near its middle, where people click."""
    if rng.random() < 0.5:
        return _pixel(target, rng)
    y, x = np.nonzero(target)
    spread = 0.15 * math.sqrt(len(x))
    middle = np.array([x.mean(), y.mean()]) + rng.normal(0, spread, 2)
    nearest = np.argmin((x - middle[0]) ** 2 + (y - middle[1]) ** 2)
    return np.array([x[nearest], y[nearest]])


def _near(target: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pixel of the background within 10 px of the object's box."""
    y, x = np.nonzero(target)
    around = np.zeros_like(target)
    around[max(0, y.min() - 10) : y.max() + 11, max(0, x.min() - 10) : x.max() + 11] = True
    return _pixel(around & (names == 0), rng) if (around & (names == 0)).any() else _pixel(names == 0, rng)


def _corner(click: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """The crop's corner in patches: the click lies anywhere in its middle half."""
    last = (SIZE - side) // PATCH
    place = click / PATCH - rng.uniform(0.25, 0.75, 2) * side / PATCH
    return place.round().astype(int).clip(0, last)


def _varied(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary colour, sharpness and noise of uint8 (S, S, 3), and normalise it: float32 (3, S, S)."""
    photo = crop.astype(np.float32) / 255
    if rng.random() < 0.4:
        around = np.pad(photo, ((1, 1), (1, 1), (0, 0)), mode="edge")
        rows = 0.25 * around[:-2] + 0.5 * around[1:-1] + 0.25 * around[2:]
        soft = 0.25 * rows[:, :-2] + 0.5 * rows[:, 1:-1] + 0.25 * rows[:, 2:]
        photo += np.float32(rng.uniform(0, 1)) * (soft - photo)
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    photo = photo * gain.astype(np.float32)
    photo += rng.uniform(0, 0.015) * rng.standard_normal(photo.shape, dtype=np.float32)
    normal = (photo - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)


def predict(model: SamModel, sample: Sample) -> tuple[Tensor, Tensor]:
    """Return logits (N, S, S) and predicted IoU (N,) of crops, by the parts that ``SamModel`` runs on a whole photo."""
    import torch

    cells = sample.pixels.shape[-1] // PATCH
    steps = torch.arange(cells, device=sample.pixels.device)
    x, y = sample.corner[:, :1] + steps, sample.corner[:, 1:] + steps
    rows, columns = y[:, :, None], x[:, None, :]
    encoder = model.vision_encoder
    hidden = encoder.patch_embed.projection(sample.pixels).permute(0, 2, 3, 1)
    hidden = hidden + encoder.pos_embed[0][rows, columns]
    for layer in encoder.layers:
        hidden = layer(hidden)
    embedding = encoder.neck(hidden)
    places = model.get_image_wide_positional_embeddings()[0].permute(1, 2, 0)[rows, columns].permute(0, 3, 1, 2)
    box = bool((sample.labels[0] == 2).any())
    points = sample.points[:, None]
    sparse, dense = model.prompt_encoder(
        input_points=None if box else points,
        input_labels=None if box else sample.labels[:, None],
        input_boxes=points.flatten(2) if box else None,
        input_masks=None,
    )
    masks, quality = model.mask_decoder(
        image_embeddings=embedding,
        image_positional_embeddings=places,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense[:, :, :cells, :cells],
        # One click is the prompt whose object can be doubted: SAM answers it with other masks than the rest.
        multimask_output=sample.points.shape[1] == 1,
    )
    return masks[:, 0, 0], quality[:, 0, 0]


def losses(logits: Tensor, quality: Tensor, sample: Sample) -> dict[str, Tensor]:
    """Cross-entropy per pixel of the object, Dice loss and squared error of the predicted IoU.

    A click beside every lesion teaches the predicted IoU alone: what its mask should be nobody can say.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    target, on = sample.target, (~sample.beside).float()
    area = target.sum((1, 2)).clamp(min=SMALLEST)
    entropy = binary_cross_entropy_with_logits(logits, target, reduction="none").sum((1, 2)) / area
    share = torch.sigmoid(logits)
    dice = 1 - (2 * (share * target).sum((1, 2)) + 1) / (share.sum((1, 2)) + target.sum((1, 2)) + 1)
    painted = logits.detach() > 0
    both, either = (painted & (target > 0)).sum((1, 2)), (painted | (target > 0)).sum((1, 2)).clamp(min=1)
    reached = on * both / either
    count = on.sum().clamp(min=1)
    return {
        "entropy": (on * entropy.clamp(max=20)).sum() / count,
        "dice": (on * dice).sum() / count,
        "quality": (quality - reached).square().mean(),
        "iou": reached.sum() / count,
    }


def processor() -> Any:
    """The image processor of the model's size."""
    from transformers import SamImageProcessor, SamProcessor

    longest, whole = {"longest_edge": SIZE}, {"height": SIZE, "width": SIZE}
    return SamProcessor(SamImageProcessor(size=longest, pad_size=whole, mask_size=longest, mask_pad_size=whole))


def main() -> None:
    """Render, train, write the averaged weights every three minutes and at the end."""
    import torch

    parser = argument_parser(__doc__, steps=6000, batch=16, rate=2e-3)
    parser.add_argument("--photos", type=int, default=960)
    given = parser.parse_args()
    lesions = rendered_lesions(given.data, given.photos)
    lesions = Lesions(*map(np.array, lesions))
    found = objects(lesions)
    device = device_of(given.device)
    model = build().to(device)
    shipped = build()
    average = Average(model, 0.998)
    optimiser = torch.optim.AdamW(
        [value for value in model.parameters() if value.requires_grad], betas=(0.9, 0.98), weight_decay=0.01
    )

    def step(index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([1, index])
        side, batches = next((side, batches) for until, side, batches in CROPS if index < until * given.steps)
        kind = ("click", "click", "box", "click", "click", "clicks")[int(rng.integers(6))]
        rows = rng.choice(len(found), round(batches * given.batch), replace=False)
        sample = draw(lesions, found, rows, kind, side, rng)
        sample = Sample(*(part.to(device) for part in sample))
        parts = losses(*predict(model, sample), sample)
        optimise(
            optimiser,
            0.5 * parts["entropy"] + parts["dice"] + parts["quality"],
            learning_rate(index, given.steps, given.rate, warmup=100),
        )
        average.update(model)
        return parts

    def export() -> None:
        average.apply(shipped)
        given.out.mkdir(parents=True, exist_ok=True)
        deepcopy(shipped).half().save_pretrained(given.out)
        processor().save_pretrained(given.out)

    checkpoint = given.data / "checkpoint.pt"
    parts = {"model": model, "optimiser": optimiser, "average": average}
    train("segmenter", checkpoint, parts, given.steps, step, export)


if __name__ == "__main__":
    run_script(main)
