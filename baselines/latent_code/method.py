"""Latent code: encode, turn the identity by the key, decode.

A stand-in of our own for methods that work on the codes of a generator (RiDDLE, Li et al., CVPR 2023; Cao et al., ICCV
2021, who rotate a recogniser's vector), with a linear generator: what the code does not hold is redrawn without it, as
theirs redraw what StyleGAN cannot. A key is a rotation of the identity's axes, which leaves the code as likely as it
was; its inverse opens it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from baselines.keys import keys_for, rotation
from baselines.latent_code.code import load_code
from mema.config import Config
from mema.errors import UserError
from mema.files import sha256_file
from mema.weights import find_weights


class LatentCodeParameters(Config):
    """``code`` is a file that ``baselines.latent_code.fit`` wrote, or a name of weights.

    ``identity`` is how many of its numbers, those that say most of who is shown, are turned. ``detail`` is the share
    of what the code does not hold that is put back from the photo: 0 redraws the whole face, as the published methods
    do; 1 keeps its fine structure, signs of disease and traces of identity alike.
    """

    code: str = "phantom-face-code"
    identity: int = Field(default=40, ge=2)
    detail: float = Field(default=0.0, ge=0, le=1)


class LatentCode:
    """Redraws the photo from its code with another identity."""

    name = "latent_code"
    reversible = True
    prior = "Eigenfaces"
    parameters_model = LatentCodeParameters

    def __init__(self, parameters: LatentCodeParameters) -> None:
        path = find_weights(parameters.code, file=True)
        self.parameters = parameters
        self.revision = f"1.{sha256_file(path)[:8]}"
        self.code = load_code(path)
        if parameters.identity > len(self.code.axes):
            raise UserError(
                f"method 'latent_code': identity is {parameters.identity}, a code has {len(self.code.axes)}"
            )

    @property
    def parameter_count(self) -> int:
        """Return how many numbers describe a code."""
        return sum(array.size for array in self.code)

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images`` with the identities that ``keys`` give them, uint8 (N, H, W, 3)."""
        rotations = [rotation(key, self.parameters.identity) for key in keys_for(images, keys, seed)]
        return self._turned(images, rotations, detail=self.parameters.detail)

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return what ``keys`` open in published ``images``, uint8 (N, H, W, 3)."""
        # What is beside the code in a published image was put there on purpose, and none of it is lost again.
        rotations = [rotation(key, self.parameters.identity).T for key in keys_for(images, keys, 0)]
        return self._turned(images, rotations, detail=1.0)

    def _turned(self, images: np.ndarray, rotations: Sequence[np.ndarray], detail: float) -> np.ndarray:
        from baselines.photos import enlarged, flat_photos

        output = np.empty_like(images)
        height, width = images.shape[1:3]
        side = self.code.side
        # One at a time: in a batch of another size, floats are summed in another order.
        for row, turn in enumerate(rotations):
            small = flat_photos(images[row : row + 1], side)[0]
            before = self.code.encode(small)
            after = before.copy()
            after[: len(turn)] = turn @ before[: len(turn)]
            drawn, known = (
                enlarged(self.code.decode(code).reshape(3, side, side), height, width) for code in (after, before)
            )
            photo = drawn + detail * (images[row].astype(np.float32) / 255 - known)
            output[row] = np.rint(photo.clip(0, 1) * 255)
        return output
