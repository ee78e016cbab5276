"""Exact nearest neighbours of face vectors: ours against bare matrix products, scikit-learn's and faiss's exact search.

    python -m benchmarks.nearest_neighbours

The default is an audit of MeMa's size: 42,307 images against 39,323 photos, 512 numbers a face, three recognisers. No
exact search by products can be faster than the products alone, so these are the measure: once in our blocks, once in
strips of 1,024 probes, and the faster of both counts. On a machine that does other work too, compare the processor
seconds of one thread (``--threads 1``). Every side runs in a process of its own, whose peak memory,
vectors included, stands beside its time. One probe in a hundred is a near-duplicate of a photo.
"""

from __future__ import annotations

import argparse
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np

from benchmarks import common
from mema.errors import run_script
from mema.faces import matching
from mema.faces.recognisers import unit
from mema.files import git_hash, hardware

PAPER_PHOTOS = 39_323
STRIP = 1024
DUPLICATES = 100
NOISE = 1e-4

Found = tuple[np.ndarray, np.ndarray]


class Size(NamedTuple):
    """How many vectors of how many numbers, by how many recognisers, and how many neighbours are asked for."""

    probes: int
    gallery: int
    dimension: int
    recognisers: int
    neighbours: int


class Run(NamedTuple):
    """What a side took and what it found of each recogniser: bare products find nothing.

    ``seconds`` by the clock, ``processor_seconds`` of all threads, ``memory`` in bytes at its peak.
    """

    seconds: float
    processor_seconds: float
    memory: int
    found: list[Found]


def products_in_blocks(probes: np.ndarray, gallery: np.ndarray, _: int) -> None:
    """Multiply in the blocks of our search."""
    products(probes, gallery, matching.PROBES, matching.GALLERY)


def products_in_strips(probes: np.ndarray, gallery: np.ndarray, _: int) -> None:
    """Multiply some probes at a time with the whole gallery."""
    products(probes, gallery, STRIP, len(gallery))


def products(probes: np.ndarray, gallery: np.ndarray, rows: int, columns: int) -> None:
    """Multiply everything, ``rows`` x ``columns`` at a time, into one buffer."""
    buffer = np.empty(rows * columns, np.float32)
    for first in range(0, len(probes), rows):
        left = probes[first : first + rows]
        for start in range(0, len(gallery), columns):
            right = gallery[start : start + columns].T
            np.matmul(left, right, out=buffer[: len(left) * right.shape[1]].reshape(len(left), -1))


def ours(probes: np.ndarray, gallery: np.ndarray, neighbours: int) -> Found:
    """Search as the audit does."""
    return matching.nearest_neighbours(probes, gallery, neighbours)


def scikit_learn(probes: np.ndarray, gallery: np.ndarray, neighbours: int) -> Found:
    """Search by ``NearestNeighbors(algorithm="brute")``."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(gallery)
    distance, found = index.kneighbors(probes)
    return found, distance


def faiss_flat(probes: np.ndarray, gallery: np.ndarray, neighbours: int) -> Found:
    """Search by ``IndexFlatL2``."""
    import faiss

    index = faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery)
    squared, found = index.search(probes, neighbours)
    return found, np.sqrt(np.maximum(squared, 0))


OURS = "ours"
SIDES: dict[str, Callable[[np.ndarray, np.ndarray, int], Found | None]] = {
    "bare products, our blocks": products_in_blocks,
    "bare products, strips": products_in_strips,
    OURS: ours,
    "scikit-learn, brute force": scikit_learn,
    "faiss, IndexFlatL2": faiss_flat,
}
BARE = ("bare products, our blocks", "bare products, strips")


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure all sides and print a table."""
    arguments = parse(command_line)
    size = Size(*(getattr(arguments, field) for field in Size._fields))
    runs = race(size, arguments.threads, arguments.rounds)
    bare = min(runs[side].seconds for side in BARE)
    header = ["search", "seconds", "ratio to bare products", "processor seconds", "peak memory, GiB"]
    header += ["same neighbours as ours", "distances off by at most"]
    rows = [
        [
            side,
            f"{run.seconds:.1f}",
            f"{run.seconds / bare:.2f}",
            f"{run.processor_seconds:.1f}",
            f"{run.memory / 2**30:.2f}",
            *agreement(run.found, runs[OURS].found),
        ]
        for side, run in runs.items()
    ]
    name = f"{size.probes:,} x {size.gallery:,} x {size.dimension}, {size.recognisers} recognisers"
    versions = ", ".join(f"{package} {version(package)}" for package in ("numpy", "scikit-learn", "faiss-cpu"))
    what = (
        f"{name}, the nearest {size.neighbours}; {hardware()}, {arguments.threads} threads; {versions}; "
        f"commit {(git_hash() or 'no git')[:12]}."
    )
    text = f"{what}\n\n{common.table(header, rows)}"
    print(text)
    if arguments.write:
        common.write_section(arguments.write, f"Nearest neighbours: {name}", text)


def parse(command_line: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--probes", type=int, default=common.PAPER_IMAGES, help="images (default: MeMa's)")
    parser.add_argument("--gallery", type=int, default=PAPER_PHOTOS, help="photos (default: MeMa's)")
    parser.add_argument("--dimension", type=int, default=512, help="numbers a face (default: 512)")
    parser.add_argument("--recognisers", type=int, default=3, help="(default: 3)")
    parser.add_argument("--neighbours", type=int, default=1, help="(default: 1)")
    parser.add_argument("--threads", type=int, default=2, help="and processors of every side (default: 2)")
    parser.add_argument("--rounds", type=int, default=2, help="repeats; the fastest counts (default: 2)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into its section of this file too")
    return parser.parse_args(command_line)


def race(size: Size, threads: int, rounds: int) -> dict[str, Run]:
    """Return the fastest run of each side; the sides take turns."""
    best: dict[str, Run] = {}
    for _ in range(rounds):
        for side in SIDES:
            # A fresh process: its peak memory is that of this side.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                run = pool.submit(measure, side, size, threads).result()
            if side not in best or run.seconds < best[side].seconds:
                best[side] = run
    return best


def measure(side: str, size: Size, threads: int) -> Run:
    """Run one side in this process, after a small run that loads its libraries and starts its threads."""
    from threadpoolctl import threadpool_limits

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    search = SIDES[side]
    pairs = list(vectors(size))
    search(pairs[0][0][:STRIP], pairs[0][1][:STRIP], size.neighbours)
    with threadpool_limits(threads):
        before = perf_counter(), process_time()
        found = [search(probes, gallery, size.neighbours) for probes, gallery in pairs]
        seconds, processor_seconds = perf_counter() - before[0], process_time() - before[1]
    # Linux counts it in KiB.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Run(seconds, processor_seconds, memory, [one for one in found if one is not None])


def vectors(size: Size) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the probes and the gallery of each recogniser: random unit vectors, float32, the same in every process."""
    for recogniser in range(size.recognisers):
        random = np.random.default_rng(recogniser)
        probes, gallery = (
            unit(random.standard_normal((count, size.dimension), np.float32)) for count in (size.probes, size.gallery)
        )
        copies = np.arange(0, size.probes, DUPLICATES)
        probes[copies] = gallery[copies % size.gallery]
        probes[copies, 0] += np.float32(NOISE)
        yield probes, gallery


def agreement(found: Sequence[Found], exact: Sequence[Found]) -> tuple[str, str]:
    """Return the share of the same neighbours and the largest difference of a distance."""
    if not found:
        return "–", "–"
    same = np.mean([np.mean(one[0] == other[0]) for one, other in zip(found, exact, strict=True)])
    off = max(np.abs(one[1] - other[1]).max() for one, other in zip(found, exact, strict=True))
    return f"{same:.4%}", f"{off:.1e}"


if __name__ == "__main__":
    run_script(main)
