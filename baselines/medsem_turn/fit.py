r"""Fit the face code of medsem-turn to photos; neither labels nor recognisers are used.

    python -m baselines.medsem_turn.fit --images runs/demo/donors --out runs/turn-code.safetensors

``--images`` is a release (its training split), an image set, or an ``.npy`` file of uint8 photos (N, H, W, 3), taken by
a clinic's protocol.
"""

from __future__ import annotations

import numpy as np

from baselines.latent_code.code import save_code
from baselines.medsem_turn.code import fit_blind_code
from baselines.photos import fit_parser, flat_photos, load_photos
from mema.errors import run_script


def main() -> None:
    """Parse the command line and fit."""
    given = fit_parser(__doc__, components=200).parse_args()
    flat = flat_photos(np.array(load_photos(given.images)[:: given.every]), given.side)
    code = fit_blind_code(flat, given.components)
    save_code(code, given.out, origin=f"{given.images.name}, every {given.every}")
    lost = flat - code.mean - code.encode(flat) @ code.axes
    told = 1 - np.square(lost).sum() / np.square(flat - code.mean).sum()
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB of {len(flat)} photos; variance told {told:.3f}")


if __name__ == "__main__":
    run_script(main)
