"""A face code that is blind to the medical region: it draws the eyes it expects, and never reads the eyes it sees."""

from __future__ import annotations

import numpy as np

from baselines.latent_code.code import FaceCode, principal_axes
from baselines.medsem_turn.region import outside
from mema.errors import UserError


def fit_blind_code(photos: np.ndarray, components: int, *, seed: int = 0) -> FaceCode:
    """Return the code of ``components`` numbers for flat ``photos``, float32 (N, 3 S S) in [0, 1].

    Inside the region the axes are what the numbers predict of it by least squares. UserError with fewer than twice as
    many photos as ``components``.
    """
    if len(photos) < 2 * components:
        raise UserError(
            f"a face code of {components} numbers needs at least {2 * components} photos, not {len(photos)}"
        )
    mean = photos.mean(axis=0)
    centred = photos - mean
    seen = centred * outside(round((len(mean) / 3) ** 0.5))
    spread, directions = principal_axes(seen, components, seed)
    codes = seen @ directions.T / spread
    axes = codes.T @ centred / len(photos)
    return blind(FaceCode(mean, axes, axes, np.zeros(components, np.float32)))


def blind(code: FaceCode) -> FaceCode:
    """Return ``code`` with a ``back`` that reads nothing inside the medical region."""
    back = np.linalg.pinv(code.axes * outside(code.side)).T
    return code._replace(back=np.ascontiguousarray(back, np.float32))
