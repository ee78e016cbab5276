"""k-same on pixels and in a space of eigenfaces (Newton, Sweeney, Malin, IEEE TKDE 17(2), 2005).

The paper de-identifies a closed set: every k faces of it get one average, so an attacker who knows the set is right at
most once in k times. Here the faces come from a gallery of donors that is fixed beforehand
(``baselines.k_same.gallery``), since a photo's output must not depend on which others are published with it. What holds
then: the face that is shown is the average of k donors and no pixel of it is the patient's; all that it says of the
patient is which k donors are nearest. The paper's bound of 1/k is *not* claimed: two photos of a patient tend to get
the same donors, and what lies outside the face (hair, neck, background) stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from baselines.face_region import Similarity, feathered
from baselines.k_same.gallery import load_gallery
from mema.config import Config
from mema.files import sha256_file
from mema.weights import find_weights

FEATHER = 0.05
"""Over how much of the standard pose's side the average fades into the photo."""


class KSameParameters(Config):
    """``k`` faces are averaged; ``gallery`` is a file that ``baselines.k_same.gallery`` wrote, or a name of weights."""

    k: int = Field(default=10, ge=2)
    gallery: str = "phantom-gallery"


class KSame:
    """Replaces the face by the mean of the ``k`` gallery faces whose pixels are nearest to its own, once aligned."""

    name = "k_same"
    reversible = False
    prior = "Landmark + donors"
    parameters_model: type[Config] = KSameParameters
    parameter_count = 0

    def __init__(self, parameters: KSameParameters) -> None:
        from mema.errors import UserError

        path = find_weights(parameters.gallery, file=True)
        self.parameters = parameters
        self.revision = f"1.{sha256_file(path)[:8]}"
        self.gallery = load_gallery(path)
        if parameters.k > len(self.gallery.faces):
            raise UserError(f"method '{self.name}': k is {parameters.k}, the gallery has {len(self.gallery.faces)}")
        self._mask = self.gallery.mask
        self._known = self._pixels(self.gallery.faces)

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images`` with averages in the place of faces, uint8 (N, H, W, 3)."""
        from mema.faces.detector import placed_landmarks

        output = images.copy()
        side = self.gallery.faces.shape[1]
        weight = feathered(self._mask, FEATHER * side)
        for photo, points in zip(output, placed_landmarks(images)[0], strict=True):
            height, width = photo.shape[:2]
            pose = Similarity.between(points, self.gallery.pose)
            face = np.zeros_like(self.gallery.faces[0])
            average = self._average(self._pixels(pose.warp(photo, side, side)[None])[0])
            face[self._mask] = average.reshape(-1, 3).clip(0, 255).round()
            shown = pose.inverse().warp(face, height, width).astype(np.float32)
            share = pose.inverse().warp(np.repeat((weight * 255).astype(np.uint8)[..., None], 3, axis=2), height, width)
            share = share.astype(np.float32) / 255
            photo[:] = np.rint(photo * (1 - share) + shown * share)
        return output

    def _pixels(self, faces: np.ndarray) -> np.ndarray:
        """Return the face's pixels of aligned ``faces``, float32 (N, 3 M)."""
        return faces[:, self._mask].reshape(len(faces), -1).astype(np.float32)

    def _average(self, face: np.ndarray) -> np.ndarray:
        """Return the mean, float (3 M,), of the gallery faces nearest to ``face``."""
        distances = np.square(self._known - face).sum(axis=1)
        average: np.ndarray = self._known[np.argsort(distances, kind="stable")[: self.parameters.k]].mean(axis=0)
        return average


class KSameEigenParameters(KSameParameters):
    """``components`` is the number of eigenfaces in which faces are compared and averaged."""

    components: int = Field(default=40, ge=1)


class KSameEigen(KSame):
    """k-same on the coefficients of eigenfaces (Turk & Pentland 1991) of the gallery: what they lack is lost."""

    name = "k_same_eigen"
    parameters_model = KSameEigenParameters

    def __init__(self, parameters: KSameEigenParameters) -> None:
        super().__init__(parameters)
        self._mean = self._known.mean(axis=0)
        self._eigenfaces = principal_components(self._known - self._mean, parameters.components)
        self._coefficients = (self._known - self._mean) @ self._eigenfaces.T

    def _average(self, face: np.ndarray) -> np.ndarray:
        distances = np.square(self._coefficients - (face - self._mean) @ self._eigenfaces.T).sum(axis=1)
        nearest = np.argsort(distances, kind="stable")[: self.parameters.k]
        average: np.ndarray = self._mean + self._coefficients[nearest].mean(axis=0) @ self._eigenfaces
        return average


def principal_components(centred: np.ndarray, count: int) -> np.ndarray:
    """Return the first ``count`` (or all) directions of ``centred`` (N, D), orthonormal rows, by N x N eigenvectors."""
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    count = min(count, len(centred) - 1)
    directions = vectors[:, ::-1][:, :count].T @ centred
    directions = directions / np.sqrt(values[::-1][:count, None])
    return directions.astype(np.float32)
