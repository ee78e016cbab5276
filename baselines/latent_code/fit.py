r"""Fit the face code to photos and a recogniser that the benchmark does not use.

    python -m baselines.latent_code.fit --images runs/demo/donors --out runs/face-code.safetensors

``--images`` is a release (its training split), an image set, or an ``.npy`` file of uint8 photos (N, H, W, 3). Labels
are not used.
"""

from __future__ import annotations

import numpy as np

from baselines.latent_code.code import fit_code, save_code
from baselines.photos import fit_parser, flat_photos, load_photos
from mema.errors import run_script
from mema.faces.recognisers import recogniser


def main() -> None:
    """Parse the command line and fit."""
    parser = fit_parser(__doc__, components=64)
    parser.add_argument("--recogniser", default="phantom-arcface", help="whose identity is turned")
    given = parser.parse_args()
    photos = np.array(load_photos(given.images)[:: given.every])
    flat = flat_photos(photos, given.side)
    code = fit_code(flat, recogniser(given.recogniser).embed(photos).vectors, given.components)
    save_code(code, given.out, origin=f"{given.images.name}, {given.recogniser}")
    told = ", ".join(f"{correlation:.2f}" for correlation in code.correlations[::8])
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB; every 8th correlation: {told}")


if __name__ == "__main__":
    run_script(main)
