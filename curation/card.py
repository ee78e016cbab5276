"""Documents from templates, and how numbers are written in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mema.faces.leakage import Rate
from mema.pages import environment

TEMPLATES = Path(__file__).parent / "templates"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return a document's Markdown; a name that ``context`` lacks is an error."""
    templates = environment(TEMPLATES, html=False)
    templates.filters.update(percent=percent, rate=rate_text)
    return templates.get_template(template).render(context)


def size_category(total: int) -> str:
    """Return the hub's word for a number of images."""
    return next((word for bound, word in SIZES if total < bound), "n>1M")


def percent(value: float) -> str:
    """Return a share in per cent with one decimal."""
    return f"{100 * value:.1f} %"


def rate_text(rate: Rate | None) -> str:
    """Return a rate with its interval, or a dash."""
    return "–" if rate is None else f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
