"""Map a function over batches: in this process or in worker processes; the seam where Ray comes in.

The result never depends on ``workers``: batches are cut the same way and come back in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Output = TypeVar("Output")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut ``items`` into runs of ``size``; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def map_batches(
    function: Callable[[Sequence[Item]], Output],
    items: Sequence[Item],
    *,
    batch_size: int,
    workers: int = 1,
    label: str = "",
) -> Iterator[Output]:
    """Yield ``function(batch)`` for each batch of ``items``, in order, under a progress bar with rate and ETA.

    With ``workers`` > 1 the function runs in spawned processes, so it must be importable (module level).
    """
    from tqdm import tqdm

    with tqdm(total=len(items), desc=label, unit="image", disable=None if label else True) as bar:
        if workers <= 1:
            for batch in batches(items, batch_size):
                yield function(batch)
                bar.update(len(batch))
            return
        # spawn: a forked child inherits locks of torch's and OpenMP's thread pools and can hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for batch, output in zip(
                batches(items, batch_size), pool.map(function, batches(items, batch_size)), strict=True
            ):
                yield output
                bar.update(len(batch))
