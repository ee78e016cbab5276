"""The trained networks as one file, with what they were trained as and beside which encoder."""

from __future__ import annotations

import json
from pathlib import Path

from baselines.medsem_deid.latent import FROZEN, LatentMedSem, build_network, latents_digest
from baselines.medsem_deid.networks import MedSemNetwork
from baselines.medsem_deid.settings import MedSemParameters, NetworkSettings
from baselines.weights_file import write_half
from mema.errors import UserError
from mema.weights import find_weights

FILE = "medsem.safetensors"
DESCRIPTION = "medsem-deid"


def save_model(
    network: MedSemNetwork | LatentMedSem, file: Path, parameters: MedSemParameters, *, semantics: str, latents: str
) -> None:
    """Write ``network`` in half precision, without a generator's VAE. Atomic.

    ``semantics`` and ``latents`` are the sha256 of its Enc_med's weights and of that generator's.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(FROZEN)}
    description = {
        "parameters": parameters.model_dump(mode="json"),
        "medical_channels": network.medical_channels,
        "semantics": semantics,
        "latents": latents,
    }
    write_half(own, file, DESCRIPTION, description)


def load_model(parameters: MedSemParameters, *, semantics: str | None) -> MedSemNetwork | LatentMedSem:
    """Load the networks, float32, in evaluation mode, on the CPU.

    UserError when the file is missing or broken, when its network is not the one of ``parameters``, or when it was
    trained beside another Enc_med than the one whose sha256 is ``semantics`` (None where none is used).
    """
    from safetensors import SafetensorError, safe_open

    try:
        path = find_weights(parameters.weights)
    except UserError as error:
        raise UserError(f"medsem-deid: {error}; they are made by: mema medsem train") from None
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"medsem-deid: no file {file}; it is made by: mema medsem train")
    try:
        with safe_open(str(file), framework="pt") as saved:
            description = json.loads((saved.metadata() or {})[DESCRIPTION])
            trained = MedSemParameters.model_validate(description["parameters"])
            channels, beside = int(description["medical_channels"]), str(description["semantics"])
            latents = str(description.get("latents", ""))
            tensors = {name: saved.get_tensor(name).float() for name in saved.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{file}: not the weights of a MedSem-DeID") from None
    if trained.network != parameters.network:
        raise UserError(f"{file}: trained with network.{_differing(trained.network, parameters.network)}")
    if semantics is not None and semantics != beside:
        raise UserError(
            f"{file}: trained beside another encoder of medical semantics than 'encoder' names: train again"
        )
    if latents != latents_digest(trained.network):
        raise UserError(f"{file}: trained beside other weights of {trained.network.latents}: train again")
    network = build_network(trained.network, channels)
    frozen = {name: value for name, value in network.state_dict().items() if name.startswith(FROZEN)}
    try:
        network.load_state_dict(tensors | frozen)
    except RuntimeError:
        raise UserError(f"{file}: not the weights of a MedSem-DeID") from None
    return network.requires_grad_(False).eval()


def _differing(trained: NetworkSettings, asked: NetworkSettings) -> str:
    was, wanted = trained.model_dump(), asked.model_dump()
    name = next(name for name in was if was[name] != wanted[name])
    return f"{name} {was[name]}, not {wanted[name]}"
