"""SAM by its authors' package ``segment_anything``, and what was tuned from it in the same layout, such as MedSAM."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from curation.segmenting.segmenter import Prompt, Proposal, arrays, best
from mema.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# The one size of the published checkpoints that their weights do not show.
DECODER_HEADS = 8


class _Embedding(NamedTuple):
    """``SamPredictor``'s state after it has seen an image; sizes are (H, W)."""

    features: Tensor
    original_size: tuple[int, int]
    input_size: tuple[int, int]


class OriginalSegmenter:
    """Runs a ``.pth`` checkpoint through ``SamPredictor``; see ``Segmenter``."""

    def __init__(self, path: Path, version: str) -> None:
        import torch
        from segment_anything import SamPredictor

        self.version = version
        try:
            # Tensors only: a pickle may run code when it is opened.
            weights = torch.load(path, map_location="cpu", weights_only=True)
            model = build(weights)
            model.load_state_dict(weights)
        except (
            pickle.UnpicklingError,
            RuntimeError,
            KeyError,
            IndexError,
            AttributeError,
            TypeError,
            EOFError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: not a checkpoint of segment_anything ({reason})") from None
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.predictor = SamPredictor(model.to(device).eval())

    def embed(self, image: np.ndarray) -> _Embedding:
        """Read an image, uint8 RGB (H, W, 3)."""
        self.predictor.set_image(image)
        state = self.predictor
        return _Embedding(state.features, state.original_size, state.input_size)

    def segment(self, embedding: _Embedding, prompts: Sequence[Prompt]) -> list[Proposal]:
        """Return one mask per prompt; all of them have the same number of points, and all or none a box."""
        import torch

        state = self.predictor
        state.features, state.original_size, state.input_size = embedding
        state.is_image_set = True
        points, labels, boxes = (
            None if given is None else torch.from_numpy(given).to(state.device) for given in arrays(prompts)
        )
        size = embedding.original_size
        masks, scores, _ = state.predict_torch(
            None if points is None else state.transform.apply_coords_torch(points, size),
            labels,
            None if boxes is None else state.transform.apply_boxes_torch(boxes, size),
            multimask_output=prompts[0].ambiguous,
        )
        return best(masks.cpu().numpy(), scores.cpu().numpy())


def build(weights: Mapping[str, Tensor]) -> Any:
    """Return an untrained ``Sam`` of the sizes that ``weights`` have; KeyError when they are not SAM's."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
    from torch.nn import LayerNorm

    def shape(name: str) -> tuple[int, ...]:
        return tuple(weights[name].shape)

    def count(prefix: str) -> int:
        return 1 + max(int(name[len(prefix) :].split(".")[0]) for name in weights if name.startswith(prefix))

    _, grid, _, width = shape("image_encoder.pos_embed")
    patch = shape("image_encoder.patch_embed.proj.weight")[-1]
    blocks = range(count("image_encoder.blocks."))
    # A block's relative positions reach over its window, or over the whole grid when it has none.
    reaches = [(shape(f"image_encoder.blocks.{block}.attn.rel_pos_h")[0] + 1) // 2 for block in blocks]
    channels = shape("image_encoder.neck.0.weight")[0]
    layers = "mask_decoder.transformer.layers."
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=grid * patch,
            patch_size=patch,
            embed_dim=width,
            depth=len(blocks),
            num_heads=width // shape("image_encoder.blocks.0.attn.rel_pos_h")[1],
            mlp_ratio=shape("image_encoder.blocks.0.mlp.lin1.weight")[0] / width,
            out_chans=channels,
            norm_layer=partial(LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=min(reaches) if min(reaches) < grid else 0,
            global_attn_indexes=tuple(block for block in blocks if reaches[block] == grid),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(grid * patch, grid * patch),
            mask_in_chans=shape("prompt_encoder.mask_downscaling.3.weight")[0],
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=channels,
            num_multimask_outputs=shape("mask_decoder.mask_tokens.weight")[0] - 1,
            iou_head_depth=count("mask_decoder.iou_prediction_head.layers."),
            iou_head_hidden_dim=shape("mask_decoder.iou_prediction_head.layers.0.weight")[0],
            transformer=TwoWayTransformer(
                depth=count(layers),
                embedding_dim=channels,
                num_heads=DECODER_HEADS,
                mlp_dim=shape(f"{layers}0.mlp.lin1.weight")[0],
            ),
        ),
        # Stated by the package's own builder; they are no part of a checkpoint.
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
