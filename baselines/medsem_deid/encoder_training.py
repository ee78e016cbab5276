"""Train Enc_med on a release's training split: a LoRA of a diffusion UNet, a supervised ViT, or an MAE.

    mema medsem encoder --config configs/methods/medsem-deid.yaml --release data/mema/1.0.0 --out OUT

The diffusion model is trained as the generator is (MeMa, Implementation Details), on virtual patients alone; the two
others are what Table 10 compares it with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.medsem_deid.photos import Photos, choose_sets, gather
from baselines.medsem_deid.settings import EncoderSettings, MedSemParameters
from mema.diffusion.batches import draw_batch
from mema.diffusion.settings import TrainingSettings
from mema.errors import UserError
from mema.files import sha256_json
from mema.imageset import ImageSet
from mema.taxonomy import Taxonomy, load_taxonomy, taxonomies

if TYPE_CHECKING:
    from torch import Tensor

STATE_FOLDER = "state"


def train_encoder(
    parameters: MedSemParameters,
    out: Path,
    *,
    release: Path | None = None,
    donors: Path | None = None,
    init: Path | None = None,
) -> Path:
    """Train the ``encoder`` of ``parameters`` as its ``encoder_training`` says, write it to ``out`` and return ``out``.

    It sees the photos that ``schedule.data`` names. ``init`` is, for a diffusion model, a LoRA to start from; for the
    others a folder that transformers loads: with weights they are the start, without any its ``config.json`` counts.
    By default a ViT is a ViT-B/16 of the networks' size with random weights. UserError for photos without a disease,
    where the training needs it.
    """
    from accelerate import PartialState

    from mema.diffusion.acceleration import local_device

    sets = choose_sets(parameters.schedule, release, donors)
    diseases = _diseases(sets)
    local_device()
    state = PartialState()
    with state.main_process_first():
        photos = gather(sets, parameters.network.size, out / STATE_FOLDER, write=state.is_main_process)
    if parameters.encoder.kind == "diffusion":
        subjects = [record.subject_id for one in sets for record in one.records()]
        _train_diffusion(parameters, photos, diseases, subjects, out, init)
    else:
        _train_vision(parameters.encoder, parameters.encoder_training, photos, diseases, out, init)
    return out


def _train_diffusion(
    parameters: MedSemParameters,
    photos: Photos,
    diseases: Sequence[str],
    subjects: Sequence[str],
    out: Path,
    init: Path | None,
) -> None:
    """Fine-tune the UNet on captions of the diseases, as the generator's is, and save the LoRA or the UNet."""
    import torch

    from mema.diffusion import training
    from mema.diffusion.acceleration import local_device
    from mema.diffusion.checkpoint import Generator, encode_latents, encode_prompts, load_pipeline, lora_file
    from mema.files import sha256_file

    settings = parameters.encoder_training
    pipe = load_pipeline(Generator(parameters.encoder.weights), device=local_device())
    taxonomy = _taxonomy(diseases)
    prompts = ["", *(taxonomy.caption(code) for code in taxonomy.codes)]
    encoded = encode_prompts(pipe, prompts)
    views = [photos.images, photos.images[:, :, ::-1]] if settings.flip else [photos.images]
    training.train(
        pipe,
        training.Photos(
            torch.stack([encode_latents(pipe, view) for view in views], dim=1),
            [1 + taxonomy.index(disease) for disease in diseases],
            torch.stack([encoded[prompt].cpu() for prompt in prompts]),
            np.unique(subjects, return_inverse=True)[1].tolist(),
        ),
        settings,
        output=out,
        private=out / STATE_FOLDER,
        fingerprint=sha256_json(
            {
                "photos": photos.digest,
                "checkpoint": parameters.encoder.weights,
                "init": None if init is None else sha256_file(lora_file(init)),
                "settings": settings.model_dump(mode="json", exclude={"save_every", "tracker", "sample_every"}),
            }
        ),
        init=init,
        label="encoder",
    )


def _train_vision(
    encoder: EncoderSettings,
    settings: TrainingSettings,
    photos: Photos,
    diseases: Sequence[str],
    out: Path,
    init: Path | None,
) -> None:
    """Train a ViT to name the disease, or an MAE to fill in patches, and save it in transformers' format."""
    import torch
    from torch.nn import functional
    from tqdm import tqdm
    from transformers import ViTForImageClassification, ViTImageProcessor, ViTMAEForPreTraining

    from mema.diffusion.acceleration import local_device, start_accelerator
    from mema.diffusion.state import Curves, load_state, save_state

    accelerator = start_accelerator(settings, out, cpu=local_device() == "cpu")
    taxonomy = _taxonomy(diseases)
    size = int(photos.images.shape[1])
    model_class = ViTMAEForPreTraining if encoder.kind == "mae" else ViTForImageClassification
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _start(model_class, init, size, list(taxonomy.codes)).to(accelerator.device).train()
    labels = np.array([taxonomy.index(disease) for disease in diseases])
    side, patch = int(model.config.image_size), int(model.config.patch_size)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=settings.learning_rate, weight_decay=0.05)
    fingerprint = sha256_json(
        {
            "photos": photos.digest,
            "kind": encoder.kind,
            "config": model.config.to_dict(),
            "settings": settings.model_dump(mode="json", exclude={"save_every", "tracker", "sample_every"}),
        }
    )
    state = out / STATE_FOLDER / "state.safetensors"
    curves = load_state(state, fingerprint, parameters, optimizer, None)
    total, rows = settings.total_steps(len(photos.images)), np.arange(len(photos.images))
    done = len(curves.losses)
    with tqdm(total=total, initial=done, desc="encoder", unit="step", disable=not accelerator.is_main_process) as bar:
        for step in range(done, total):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate_at(step, total)
            batch = draw_batch(settings, step, rows, labels, 2 if settings.flip else 1)
            share = slice(accelerator.process_index, None, accelerator.num_processes)
            pixels = _pixels(photos.images, batch.photos[share], batch.views[share] == 1).to(accelerator.device)
            if encoder.kind == "mae":
                order = np.random.default_rng([settings.seed, step]).random((settings.batch, (side // patch) ** 2))
                target = {"noise": torch.from_numpy(order[share])}
            else:
                target = {"labels": torch.from_numpy(labels[batch.photos[share]])}
            with accelerator.autocast():
                loss = model(
                    functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True),
                    **{name: value.to(accelerator.device) for name, value in target.items()},
                ).loss
            accelerator.backward(loss)
            if accelerator.num_processes > 1:
                for parameter in parameters.values():
                    parameter.grad = accelerator.reduce(parameter.grad, "mean")
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            curves.losses.append(float(accelerator.reduce(loss.detach(), "mean")))
            bar.set_postfix(loss=f"{np.mean(curves.losses[-50:]):.4f}")
            bar.update()
            if accelerator.is_main_process and (step + 1) % settings.save_every == 0:
                save_state(state, fingerprint, parameters, optimizer, None, Curves(curves.losses, {}))
    if accelerator.is_main_process:
        model.save_pretrained(out)
        ViTImageProcessor(size={"height": size, "width": size}).save_pretrained(out)
    accelerator.wait_for_everyone()


def _start(model_class: Any, init: Path | None, size: int, classes: list[str]) -> Any:
    from transformers import AutoConfig

    labels = {"num_labels": len(classes), "id2label": dict(enumerate(classes))}
    if init is None:
        config = model_class.config_class(image_size=size, **labels)
    else:
        try:
            config = AutoConfig.from_pretrained(init, local_files_only=True, **labels)
            if not isinstance(config, model_class.config_class):
                raise UserError(f"encoder {init}: holds a {config.model_type}, which is of another kind")
            if list(Path(init).glob("*.safetensors")):
                return model_class.from_pretrained(
                    init, config=config, local_files_only=True, use_safetensors=True, ignore_mismatched_sizes=True
                )
        except (OSError, ValueError) as error:
            raise UserError(f"encoder {init}: cannot be loaded ({str(error).splitlines()[0][:200]})") from None
    return model_class(config)


def _pixels(images: np.ndarray, rows: np.ndarray, mirrored: np.ndarray) -> Tensor:
    """Return photos as float32 (N, 3, S, S) in [-1, 1], some of them mirrored."""
    import torch

    from baselines.medsem_deid.networks import to_signal

    chosen = np.stack([images[row] for row in rows])
    return to_signal(torch.from_numpy(np.where(mirrored[:, None, None, None], chosen[:, :, ::-1], chosen)))


def _diseases(sets: Sequence[ImageSet]) -> list[str]:
    """Return the disease of each photo; UserError names the first that has none."""
    diseases = []
    for one in sets:
        for record in one.records():
            if record.disease is None:
                raise UserError(f"image set {one.path}: {record.image_id} has no disease")
            diseases.append(record.disease)
    return diseases


def _taxonomy(diseases: Sequence[str]) -> Taxonomy:
    """Return the clinic that knows all of ``diseases``; UserError if none does."""
    for name in taxonomies():
        taxonomy = load_taxonomy(name)
        if set(diseases) <= set(taxonomy.codes):
            return taxonomy
    raise UserError(f"no clinic treats all of {', '.join(sorted(set(diseases)))}")
