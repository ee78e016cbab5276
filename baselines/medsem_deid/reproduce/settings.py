"""A file of ``configs/reproduce``: which variants of MedSem-DeID are trained, how long, and how they are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from baselines.medsem_deid.settings import MedSemParameters
from baselines.registry import load_method_config
from mema.config import Config, read_yaml, validate


class Variant(Config):
    """``changes`` to a method's parameters, by section: ``{loss: {medical: 0}}``.

    ``train_encoder``: whether Enc_med is trained first too, as ``encoder_training`` says, from ``encoder_init`` (as
    ``mema medsem encoder --init`` takes it; relative to the file of experiments).
    """

    changes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    train_encoder: bool = False
    encoder_init: Path | None = None


class Experiments(Config):
    """``method`` is the YAML that variants differ from, relative to this file; each is trained for ``iterations``.

    With several ``seeds`` each is trained once for each, and scores are their means. ``judge`` names the weights of a
    disease classifier. The first of ``recognisers`` stands for the paper's SphereFace. ``table9`` and ``table10`` name
    variants as the paper does. ``fig8_medical`` and ``fig8_recover`` are weights of these two losses, in rising order.
    """

    method: Path
    iterations: int = Field(ge=1)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    judge: str
    recognisers: tuple[str, ...] = Field(min_length=1)
    table9: dict[str, Variant] = Field(min_length=1)
    table10: dict[str, Variant] = Field(min_length=1)
    fig8_medical: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2)
    fig8_recover: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2)


def load_experiments(path: Path) -> Experiments:
    """Read a file of experiments, its paths resolved; UserError names the file and what is wrong."""
    experiments = validate(Experiments, read_yaml(path), str(path))

    def placed(variants: dict[str, Variant]) -> dict[str, Variant]:
        return {
            name: variant.model_copy(update={"encoder_init": path.parent / variant.encoder_init})
            if variant.encoder_init is not None
            else variant
            for name, variant in variants.items()
        }

    places = {
        "method": path.parent / experiments.method,
        "table9": placed(experiments.table9),
        "table10": placed(experiments.table10),
    }
    return experiments.model_copy(update=places)


def parameters_of(experiments: Experiments, variant: Variant, seed: int) -> MedSemParameters:
    """Return what a variant is trained with, its weights yet unnamed; UserError for a key that does not exist."""
    config = load_method_config(experiments.method)
    values = validate(MedSemParameters, config.parameters, str(experiments.method)).model_dump(mode="json")
    training = {"schedule": {"steps": experiments.iterations, "seed": seed}}
    for changes in (variant.changes, training):
        for section, changed in changes.items():
            kept = values.get(section)
            values[section] = kept | changed if isinstance(kept, dict) else changed
    return validate(MedSemParameters, values, "a variant of MedSem-DeID")
