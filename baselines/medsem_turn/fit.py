r"""Fit the face code of medsem-turn to photos; neither labels nor recognisers are used.

    python -m baselines.medsem_turn.fit --images runs/demo/donors --out runs/turn-code.safetensors

``--images`` is a release (its training split), an image set, or an ``.npy`` file of uint8 photos (N, H, W, 3), taken by
a clinic's protocol.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from baselines.latent_code.code import save_code
from baselines.medsem_turn.code import fit_blind_code
from baselines.photos import flat_photos, load_photos


def main() -> None:
    """Parse the command line and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--components", type=int, default=200)
    parser.add_argument("--side", type=int, default=48, help="pixels of the photos that the code describes")
    parser.add_argument("--every", type=int, default=1, help="take every so many photos")
    given = parser.parse_args()
    flat = flat_photos(np.array(load_photos(given.images)[:: given.every]), given.side)
    code = fit_blind_code(flat, given.components)
    save_code(code, given.out, origin=f"{given.images.name}, every {given.every}")
    lost = flat - code.mean - code.encode(flat) @ code.axes
    told = 1 - np.square(lost).sum() / np.square(flat - code.mean).sum()
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB of {len(flat)} photos; variance told {told:.3f}")


if __name__ == "__main__":
    main()
