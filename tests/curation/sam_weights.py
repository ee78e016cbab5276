"""Checkpoints of every layout that is read: random weights, as small as the libraries' classes allow."""

from functools import partial
from pathlib import Path

WIDTH, SIDE, PATCH = 16, 32, 4


def write_transformers(kind: str, folder: Path) -> Path:
    """A folder as the library saves it, of the model type ``kind``."""
    import torch
    import transformers

    torch.manual_seed(0)
    vision = {
        "hidden_size": WIDTH,
        "output_channels": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "mlp_ratio": 2.0,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": WIDTH // 2,
        "scale": 1,
    }
    prompts = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": PATCH, "mask_input_channels": 4}
    decoder = {"hidden_size": WIDTH, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    whole = {"height": SIDE, "width": SIDE}
    if kind == "sam2":
        hiera = {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [SIDE, SIDE],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 1, 1],
            "window_size_per_stage": [4, 2, 2, 2],
            "global_attention_blocks": [3],
            "window_positional_embedding_background_size": [2, 2],
        }
        vision = {
            "backbone_config": hiera,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[8, 8], [4, 4], [2, 2]],
            "fpn_hidden_size": WIDTH,
        }
        prompts["patch_size"] = 16
        config = transformers.Sam2Config(
            vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
        )
        model = transformers.Sam2Model(config)
        processor = transformers.Sam2Processor(transformers.Sam2ImageProcessor(size=whole))
    else:
        images = transformers.SamImageProcessor(size={"longest_edge": SIDE}, pad_size=whole)
        if kind == "sam_hq":
            decoder["vit_dim"] = WIDTH
            config = transformers.SamHQConfig(
                vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
            )
            model, processor = transformers.SamHQModel(config), transformers.SamHQProcessor(images)
        else:
            config = transformers.SamConfig(
                vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
            )
            model, processor = transformers.SamModel(config), transformers.SamProcessor(images)
    # As initialised, a prompt hardly moves the masks.
    for value in model.parameters():
        value.data += 0.2 * torch.randn_like(value)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_original(path: Path) -> Path:
    """A ``.pth`` file as the authors' package reads it."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    grid = SIDE // PATCH
    model = Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIDE,
            patch_size=PATCH,
            embed_dim=32,
            depth=3,
            num_heads=2,
            mlp_ratio=2,
            out_chans=WIDTH,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH, image_embedding_size=(grid, grid), input_image_size=(SIDE, SIDE), mask_in_chans=8
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=WIDTH,
            iou_head_hidden_dim=16,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, num_heads=8, mlp_dim=32),
        ),
    )
    for value in model.parameters():
        value.data += 0.2 * torch.randn_like(value)
    torch.save(model.state_dict(), path)
    return path
