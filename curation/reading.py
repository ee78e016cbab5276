"""Read image sets a piece at a time, so that no stage of curation holds a whole set in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mema.imageset import Face, ImageSet


def read_rows(path: Path, start: int, stop: int) -> list[Face]:
    """Return the faces of rows ``start`` to ``stop`` of the set at ``path``; only their shards are read."""
    source = ImageSet.open(path)
    faces: list[Face] = []
    first = 0
    for shard in source.shards:
        last = first + shard["count"]
        if first < stop and start < last:
            marker = {"count": shard["count"], "digest": source.digest, "config": {}, "shards": [shard]}
            rows = list(ImageSet(path, marker).faces())
            faces += rows[max(start - first, 0) : stop - first]
        first = last
    return faces


def copier(
    source: ImageSet, rows: Sequence[int], change: Callable[[int, Face], Face] = lambda row, face: face
) -> Callable[[int, int], Iterator[Face]]:
    """Return the ``make`` of ``write_imageset`` that copies ``rows`` (rising) of ``source``, each through ``change``.

    The source is read once from front to back, so ``make`` must be called with rising ranges, as it is.
    """
    stream = enumerate(source.faces())

    def make(start: int, stop: int) -> Iterator[Face]:
        wanted = iter(rows[start:stop])
        row = next(wanted, None)
        while row is not None:
            for position, face in stream:
                if position == row:
                    yield change(row, face)
                    break
            row = next(wanted, None)

    return make
