"""Donors' photos to train on, rendered once.

    python -m generation.phantom.training.data --out runs/training/donors --donors 1200 --photos 3 --workers 2

writes ``images.npy`` (N, 128, 128, 3) uint8, ``eyes.npy`` (N, 4) int16, ``captions.json``, ``traits.npy`` and
``config.json``. The donors are persons of the population "donors" under a seed of their own (``SEED``), so neither the
demo's donors nor any patient, judge or instrument's subject is among them. Each donor's last photo is taken freely, the
others by a clinic's protocol: what the generator draws is a clinic's photo, whatever photo it is given of a donor.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from generation.phantom.population import Case, draw_donor
from generation.phantom.shot import clinical
from generation.phantom.training.captions import caption, traits
from mema.errors import UserError, run_script
from mema.files import read_json, write_json

SEED = 20_001
"""Seed of the population of donors that the generator learns from."""

HELD_OUT = 0.04
"""Share of the donors, the last ones, that no training step sees; measurements are made on them."""


VARIANTS = 8
"""Captions of each photo."""


class Donors(NamedTuple):
    """Rendered donors: ``images`` (N, S, S, 3) uint8, ``eyes`` (N, 4) int16 (left, top, right, bottom of both eyes'
    box in pixels), ``captions`` (N lists of ``VARIANTS``), ``traits`` (donors, T) float32, how many ``photos`` each
    donor has, and how many photos (the first ones) are for ``training``. Photo i shows donor ``i // photos``."""

    images: np.ndarray
    eyes: np.ndarray
    captions: list[list[str]]
    traits: np.ndarray
    photos: int
    training: int


def load_donors(folder: Path | str) -> Donors:
    """Open what :func:`render_donors` wrote; a folder that is not complete raises UserError."""
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if not config["complete"]:
        raise UserError(f"{folder}: the rendering was not finished; run it again")
    return Donors(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        eyes=np.load(folder / "eyes.npy"),
        captions=read_json(folder / "captions.json"),
        traits=np.load(folder / "traits.npy"),
        photos=config["photos"],
        training=int(config["donors"] * (1 - HELD_OUT)) * config["photos"],
    )


def draw_case(index: int, photos: int) -> Case:
    """Donor ``index`` with ``photos`` shots, all but the last by the clinic's protocol."""
    case = draw_donor(index, SEED, photos=photos)
    return replace(case, shots=(*map(clinical, case.shots[:-1]), case.shots[-1]))


def render_donors(folder: Path, *, donors: int, photos: int, size: int, workers: int, chunk: int = 64) -> None:
    """Render ``photos`` photos of each of ``donors`` donors at ``size`` px; a rerun goes on where it stopped."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    config = {"donors": donors, "photos": photos, "size": size, "seed": SEED, "complete": False}
    shapes = {"images": ((donors * photos, size, size, 3), "uint8"), "eyes": ((donors * photos, 4), "int16")}
    progress = folder / "progress.json"
    same = progress.exists() and read_json(folder / "config.json") == config
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+" if same else "w+", dtype=dtype, shape=shape)
        for name, (shape, dtype) in shapes.items()
    }
    done = read_json(progress) if same else 0
    write_json(folder / "config.json", config)
    with tqdm(total=donors * photos, initial=done, unit="photo", desc="donors") as bar:
        for start in range(done, donors * photos, chunk * workers):
            stop = min(start + chunk * workers, donors * photos)
            _render_rows(arrays, range(start, stop), photos, size, workers)
            for array in arrays.values():
                array.flush()
            write_json(progress, stop)
            bar.update(stop - start)
    describe_donors(folder, donors=donors, photos=photos)
    write_json(folder / "config.json", config | {"complete": True})


def describe_donors(folder: Path, *, donors: int, photos: int) -> None:
    """Write ``captions.json`` and ``traits.npy`` beside the photos: each caption mentions other things."""
    rng, lines, numbers = np.random.default_rng([SEED, 0xCA97]), [], []
    for index in range(donors):
        case = draw_case(index, photos)
        lines += [[caption(case.subject, shot, rng) for _ in range(VARIANTS)] for shot in case.shots]
        numbers.append(traits(case.subject))
    write_json(folder / "captions.json", lines)
    np.save(folder / "traits.npy", np.array(numbers, dtype=np.float32))


def _render_rows(arrays: dict[str, np.ndarray], rows: range, photos: int, size: int, workers: int) -> None:
    from generation.phantom.render import render_batch

    cases = [draw_case(row // photos, photos) for row in rows]
    jobs = [(case.subject, case.shots[row % photos], case.finding) for row, case in zip(rows, cases, strict=True)]
    for row, photo in zip(rows, render_batch(jobs, size=size, workers=workers), strict=True):
        arrays["images"][row] = photo.image
        y, x = np.nonzero(photo.eye_region)
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, size, size)
        arrays["eyes"][row] = box


def main() -> None:
    """Parse the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--donors", type=int, default=1200)
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    render_donors(given.out, donors=given.donors, photos=given.photos, size=given.size, workers=given.workers)


if __name__ == "__main__":
    run_script(main)
