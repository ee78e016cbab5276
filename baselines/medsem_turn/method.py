"""medsem-turn: MedSem-DeID's idea with a key that works by construction.

As there, identity is encrypted under a key and medical semantics are not, the two are put together again, and the key
gives the photo back from the image alone. Here the identity part is a linear code of the whole face that never reads
the medical region (``code``), its encryption a rotation, and the medical semantics are the region itself (``region``),
in the new face's colours. So what an image says of who it shows is the region and no more: the rest is a function of a
vector that the key has turned in a random direction.

What the code cannot hold, a ``seal`` keeps for the holder of the key, in an image's lowest bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import Field

from baselines.keys import keys_for, rotation
from baselines.latent_code.code import RANGE, load_code
from baselines.medsem_turn.code import blind
from baselines.medsem_turn.region import medical_region
from baselines.medsem_turn.seal import seal, unseal
from mema.config import Config
from mema.files import sha256_file
from mema.weights import find_weights

ROUNDS = 16
"""Of projections, for a face that is not far from the mean."""

LONGEST = 1.5
"""The length of a code in units of what is usual; a longer one is no face's, and no photo could show it turned."""

COLOUR = 0.055
"""Standard deviation, in shares of the photo, of the filter that tells a face's colours from its features."""

DARKEST = 1 / 512
"""Half a step of 8 bits: what black and white are taken for, whose logits are infinite."""


class MedSemTurnParameters(Config):
    """``code`` is a file that ``baselines.medsem_turn.fit`` wrote, or a name of weights.

    ``spread`` is how far from the mean face the new one is, in units of how far the original is. Below 1 less of it
    lies outside of what 8 bits can show, and more of what the key recovers is rounding. With ``seal`` the key gives
    back the photo itself as long as the image's pixels are untouched, else what the code says of it.
    """

    code: str = "phantom-turn-code"
    spread: float = Field(default=0.8, gt=0, le=1)
    seal: bool = True


class MedSemTurn:
    """Draws another face round the signs of disease."""

    name = "medsem-turn"
    reversible = True
    prior = "Eigenfaces"
    parameters_model = MedSemTurnParameters

    def __init__(self, parameters: MedSemTurnParameters) -> None:
        path = find_weights(parameters.code, file=True)
        self.parameters = parameters
        self.revision = f"2.{sha256_file(path)[:8]}"
        self.code = blind(load_code(path))

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images`` with the faces that ``keys`` give them, uint8 (N, H, W, 3)."""
        secrets = keys_for(images, keys, seed)
        hidden = self._each(images, self._turns(secrets), self._hidden)
        if self.parameters.seal:
            for row, secret in enumerate(secrets):
                hidden[row] = seal(hidden[row], images[row], secret)
        return hidden

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return what ``keys`` open in published ``images``, uint8 (N, H, W, 3)."""
        opened = np.empty_like(images)
        for row, secret in enumerate(keys_for(images, keys, 0)):
            photo = unseal(images[row], secret) if self.parameters.seal else None
            if photo is None:
                photo = self._each(images[row : row + 1], self._turns([secret]), self._opened)[0]
            opened[row] = photo
        return opened

    @property
    def parameter_count(self) -> int:
        """Return how many numbers describe a code."""
        return self.code.mean.size + self.code.axes.size

    def _turns(self, secrets: Sequence[str]) -> list[np.ndarray]:
        return [rotation(secret, len(self.code.axes)) for secret in secrets]

    def _each(
        self,
        images: np.ndarray,
        turns: Sequence[np.ndarray],
        change: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Return ``change`` of each photo, float32 (H, W, 3) in [0, 1], of its code (K,) and of its turn."""
        from baselines.photos import flat_photos

        output = np.empty_like(images)
        # One at a time: in a batch of another size, floats are summed in another order.
        for row, turn in enumerate(turns):
            code = self.code.encode(flat_photos(images[row : row + 1], self.code.side)[0])
            changed = change(images[row].astype(np.float32) / 255, code, turn)
            output[row] = np.rint(changed.clip(0, 1) * 255)
        return output

    def _hidden(self, photo: np.ndarray, code: np.ndarray, turn: np.ndarray) -> np.ndarray:
        code = code * min(1, LONGEST * len(code) ** 0.5 / np.linalg.norm(code))
        other = (self.parameters.spread * turn @ code).astype(np.float32)
        face = self._enlarged(self.code.decode(other, ROUNDS), photo)
        shown = sigmoid(logit(photo) + self._enlarged(self._colours(other) - self._colours(code), photo))
        region = medical_region(*photo.shape[:2])[..., None]
        mixed: np.ndarray = face + region * (shown - face)
        return mixed

    def _opened(self, photo: np.ndarray, other: np.ndarray, turn: np.ndarray) -> np.ndarray:
        code = (turn.T @ other / self.parameters.spread).astype(np.float32)
        face, original = (self._enlarged(self.code.mean + one @ self.code.axes, photo) for one in (other, code))
        region = medical_region(*photo.shape[:2])[..., None]
        # Where less than half of the eye was mixed in, little of it can be told from rounding.
        shown = face + (photo - face) / np.maximum(region, 0.5)
        eyes = sigmoid(logit(shown) + self._enlarged(self._colours(code) - self._colours(other), photo))
        mixed: np.ndarray = original + (2 * region - 1).clip(0, 1) * (eyes - original)
        return mixed

    def _colours(self, code: np.ndarray) -> np.ndarray:
        """Return the colours of the face of ``code``, without its features, as flat logits."""
        from scipy.ndimage import gaussian_filter

        side = self.code.side
        drawn = (self.code.mean + code @ self.code.axes).reshape(3, side, side)
        smooth = gaussian_filter(drawn, (0, COLOUR * side, COLOUR * side), mode="nearest")
        return logit(smooth.clip(*RANGE)).ravel()

    def _enlarged(self, flat: np.ndarray, photo: np.ndarray) -> np.ndarray:
        """Return ``flat``, float (3 S S,), as large as ``photo``, float32 (H, W, 3)."""
        from baselines.photos import enlarged

        return enlarged(flat.reshape(3, self.code.side, self.code.side), *photo.shape[:2])


def logit(values: np.ndarray) -> np.ndarray:
    """Return the logits of ``values``, floats in [0, 1]: where colours are moved, since none can leave the range."""
    inside = values.clip(DARKEST, 1 - DARKEST)
    logits: np.ndarray = np.log(inside / (1 - inside))
    return logits


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the values of ``logits``."""
    values: np.ndarray = 1 / (1 + np.exp(-logits))
    return values
