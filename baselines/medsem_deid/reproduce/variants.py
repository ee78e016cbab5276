"""Train a variant and keep it, where the next run, and any other table that has the same one, finds it.

``runs/…/reproduce/medsem-deid/<hash>/`` holds ``model/`` (the training, which resumes), ``encoder/`` where Enc_med was
trained too, ``medsem-deid-<hash>.yaml``, which ``mema benchmark run --method`` takes, and ``scores.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from baselines.medsem_deid.photos import choose_sets
from baselines.medsem_deid.reproduce.settings import Variant
from baselines.medsem_deid.settings import FREE, MedSemParameters
from mema.build import Build
from mema.files import atomic_write, read_json, sha256_json, write_json
from mema.weights import digest

METHOD = "medsem-deid"
ENCODER_DONE, DONE = "encoder.json", "trained.json"


class Trained(NamedTuple):
    """A variant that is trained: its parameters, with the weights, and how many iterations these have seen."""

    folder: Path
    parameters: MedSemParameters
    iterations: int


def folder_of(build: Build, variant: Variant, parameters: MedSemParameters) -> Path:
    """Return where a variant is kept: the same for the same training, however long."""
    identity = {
        "parameters": parameters.model_dump(mode="json", exclude=FREE),
        "train_encoder": variant.train_encoder,
        "encoder_init": None if variant.encoder_init is None else digest(variant.encoder_init),
    }
    return build.reproduce / METHOD / sha256_json(identity)[:12]


def train_variant(build: Build, variant: Variant, parameters: MedSemParameters) -> Trained:
    """Train ``variant`` on the build's release or donors, unless that was done; an interrupted training goes on.

    One that was trained for longer stays as it is. UserError when photos or weights are missing.
    """
    from baselines.medsem_deid.latent import latents_digest
    from baselines.medsem_deid.semantics import semantics_digest
    from baselines.medsem_deid.training import train

    folder = folder_of(build, variant, parameters)
    sets = [one.digest for one in choose_sets(parameters.schedule, build.release, build.donors)]
    if variant.train_encoder:
        parameters = _with_encoder(build, variant, parameters, folder, sets)
    parameters = parameters.model_copy(update={"weights": str(folder / "model")})
    method = {"method": METHOD, "parameters": parameters.model_dump(mode="json")}
    atomic_write(folder / f"{METHOD}-{folder.name}.yaml", yaml.safe_dump(method, sort_keys=False))
    used = parameters.network.medical or parameters.loss.medical > 0
    learnt = {
        "sets": sets,
        "encoder": semantics_digest(parameters.encoder) if used else None,
        "latents": latents_digest(parameters.network),
    }
    done = read_json(folder / DONE) if (folder / DONE).is_file() else None
    if done is None or done["learnt"] != learnt or done["iterations"] < parameters.schedule.steps:
        train(parameters, folder / "model", release=build.release, donors=build.donors)
        done = {"learnt": learnt, "iterations": parameters.schedule.steps}
        write_json(folder / DONE, done)
    return Trained(folder, parameters, done["iterations"])


def _with_encoder(
    build: Build, variant: Variant, parameters: MedSemParameters, folder: Path, sets: list[str]
) -> MedSemParameters:
    """Train Enc_med into ``encoder/``, unless that was done, and return the parameters that name it."""
    from baselines.medsem_deid.encoder_training import train_encoder

    out, done = folder / "encoder", folder / ENCODER_DONE
    if not (done.is_file() and read_json(done) == sets):
        train_encoder(parameters, out, release=build.release, donors=build.donors, init=variant.encoder_init)
        write_json(done, sets)
    named = "tuned" if parameters.encoder.kind == "diffusion" else "weights"
    return parameters.model_copy(update={"encoder": parameters.encoder.model_copy(update={named: str(out)})})
