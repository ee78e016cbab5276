"""What a metric is called, which way is better and how to read it."""

from __future__ import annotations

from typing import NamedTuple


class Definition(NamedTuple):
    """A metric's ``name`` in results, its ``title`` on the page and ``reading``, one sentence for the reader.

    Its scores lie between ``lowest`` and ``highest``; ``whole`` is False for one that has parts (``name.part``) alone.
    ``stated`` is True for a number of the whole set, such as a Fréchet distance, that no per-image score yields.
    """

    name: str
    title: str
    higher_is_better: bool
    share: bool
    reading: str
    version: str = "1"
    lowest: float = 0.0
    highest: float = 1.0
    whole: bool = True
    stated: bool = False
