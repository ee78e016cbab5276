"""The table of methods and how one is made from its YAML.

Ours are listed here; others join with an entry point in ``openmema.deidentifiers``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from baselines.protocol import Deidentifier
from mema.config import Config, read_yaml, validate
from mema.registry import Registry

METHODS = Registry(
    "method",
    {
        "blackout": "baselines.blackout:Blackout",
        "command": "baselines.command:Command",
        "eye_bar": "baselines.eye_bar:EyeBar",
        "gaussian_blur": "baselines.gaussian_blur:GaussianBlur",
        "inpaint": "baselines.inpaint:Inpaint",
        "k_same": "baselines.k_same.method:KSame",
        "k_same_eigen": "baselines.k_same.method:KSameEigen",
        "latent_code": "baselines.latent_code.method:LatentCode",
        "medsem-deid": "baselines.medsem_deid.method:MedSemDeID",
        "medsem-turn": "baselines.medsem_turn.method:MedSemTurn",
        "pass_through": "baselines.pass_through:PassThrough",
        "password": "baselines.password.method:Password",
        "pixelate": "baselines.pixelate:Pixelate",
    },
    "openmema.deidentifiers",
)


class MethodConfig(Config):
    """A file of ``configs/methods``: a name of ``METHODS`` and the parameters to run it with."""

    method: str
    parameters: dict[str, Any] = Field(default_factory=dict)


def load_method_config(path: Path) -> MethodConfig:
    """Read a method's YAML; UserError names the file and what is wrong."""
    return validate(MethodConfig, read_yaml(path), str(path))


def make_method(config: MethodConfig) -> Deidentifier:
    """Make the method of ``config``; UserError for an unknown name or a wrong parameter."""
    method_class = METHODS.load(config.method)
    parameters = validate(method_class.parameters_model, config.parameters, f"method '{config.method}'")
    method: Deidentifier = method_class(parameters)
    return method
