"""MedSem-DeID as a method of the benchmark: it de-identifies with a password and recovers from the image alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from baselines.keys import keys_for
from baselines.medsem_deid.settings import MedSemParameters

if TYPE_CHECKING:
    from torch import Tensor

    from baselines.medsem_deid.latent import LatentMedSem
    from baselines.medsem_deid.networks import MedSemNetwork
    from baselines.medsem_deid.semantics import DiffusionSemantics, VisionSemantics


class _Loaded(NamedTuple):
    network: MedSemNetwork | LatentMedSem
    semantics: DiffusionSemantics | VisionSemantics | None
    device: str


class MedSemDeID:
    """The paper's baseline (MeMa, §4). Weights are loaded at the first image; UserError then says what is missing.

    Photos of another size than the network's are resized to it and back. Each photo is run on its own, since sums in a
    batch differ in their last bits with its size.
    """

    name = "medsem-deid"
    revision = "1"
    reversible = True
    prior = "Med-Knowledge"
    parameters_model = MedSemParameters

    def __init__(self, parameters: MedSemParameters) -> None:
        self.parameters = parameters

    @cached_property
    def _loaded(self) -> _Loaded:
        import torch

        from baselines.medsem_deid.model_file import load_model
        from baselines.medsem_deid.semantics import load_semantics, semantics_digest

        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = self.parameters.encoder
        medical = self.parameters.network.medical
        network = load_model(self.parameters, semantics=semantics_digest(encoder) if medical else None)
        return _Loaded(network.to(device), load_semantics(encoder, device=device) if medical else None, device)

    @property
    def parameter_count(self) -> int:
        """Return how many numbers its networks have learnt, those of Enc_med with them."""
        networks = [network for network in self._loaded[:2] if network is not None]
        return sum(parameter.numel() for network in networks for parameter in network.parameters())

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images``, uint8 (N, H, W, 3), each encrypted by its password of ``keys``.

        Without ``keys`` a photo's password is a hash of ``seed`` and its pixels: nobody holds it, so none is recovered.
        """
        return self._each(images, keys_for(images, keys, seed), recover=False)

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return what ``keys`` open in de-identified ``images`` alone, uint8 (N, H, W, 3)."""
        return self._each(images, keys_for(images, keys, seed=0), recover=True)

    def _each(self, images: np.ndarray, keys: Sequence[str], *, recover: bool) -> np.ndarray:
        output = np.empty_like(images)
        for row, (image, key) in enumerate(zip(images, keys, strict=True)):
            output[row] = self._one(image, key, recover=recover)
        return output

    def _one(self, image: np.ndarray, key: str, *, recover: bool) -> np.ndarray:
        import torch

        from baselines.medsem_deid.latent import LatentMedSem
        from baselines.medsem_deid.networks import to_pixels, to_signal
        from baselines.medsem_deid.passwords import password_vector
        from baselines.photos import with_change

        network, semantics, device = self._loaded
        height, width = image.shape[:2]
        size = self.parameters.network.size
        password = torch.from_numpy(password_vector(key))[None].to(device)
        with torch.inference_mode():
            signal = _resize(to_signal(torch.from_numpy(image.copy())[None]).to(device), (size, size))
            medical = signal[:, :0] if semantics is None else semantics(signal)
            if recover:
                made = network.decrypt(network.read(signal, medical), password)
            else:
                made = network.encrypt(signal, medical, password)
            if self.parameters.detail:
                assert isinstance(network, LatentMedSem), "settings allow detail beside latents alone"
                change = (made - network.redrawn(signal)) / 2
                return with_change(image, change[0].cpu().numpy())
            return to_pixels(_resize(made, (height, width)))[0].cpu().numpy()


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize float (N, 3, H, W) to ``size``; of that size already, they are left to the bit."""
    from torch.nn import functional

    if images.shape[-2:] == size:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
