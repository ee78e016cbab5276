"""How donors' embeddings enter the UNet: a donor and a weight per row of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def donor_arguments(embeddings: Tensor, weights: Tensor | None, side: int) -> dict[str, Any]:
    """Return the UNet's ``added_cond_kwargs`` and ``cross_attention_kwargs`` for a batch of rows.

    ``embeddings`` (N, E) come from ``encode_faces``, ``weights`` (N,) scale what the IP-Adapter adds to each row, and
    ``side`` is that of the latents. The adapter's own scale must then be 1: a mask filled with the row's weight stands
    in for it, since diffusers has one scale for the whole batch. Without ``weights`` that scale is the weight.
    """
    arguments: dict[str, Any] = {"added_cond_kwargs": {"image_embeds": [embeddings.unsqueeze(1)]}}
    if weights is not None:
        mask = weights.view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()
        arguments["cross_attention_kwargs"] = {"ip_adapter_masks": [mask]}
    return arguments
