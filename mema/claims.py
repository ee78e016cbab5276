"""What a paper claims, beside what is seen here: an effect with its interval and the verdict that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mema.statistics import Estimate

YES, OPPOSITE, NOT_SHOWN, NOT_MEASURED = "yes", "opposite", "not shown here", "not measured"


class Claim(NamedTuple):
    """A statement and its ``effect``, above zero where the paper is right; None where nothing was measured.

    ``remark`` says what the effect is of; ``scale`` and ``digits`` how it is printed.
    """

    text: str
    effect: Estimate | None
    remark: str = ""
    scale: float = 1.0
    digits: int = 3

    @property
    def verdict(self) -> str:
        """What the interval says: all of it above zero, all below, or neither."""
        if self.effect is None:
            return NOT_MEASURED
        if self.effect.low > 0:
            return YES
        return OPPOSITE if self.effect.high < 0 else NOT_SHOWN

    def as_json(self) -> dict[str, Any]:
        """Return what a result's JSON holds of it."""
        effect = None if self.effect is None else self.effect._asdict()
        return {"claim": self.text, "effect": effect, "remark": self.remark, "verdict": self.verdict}


def claim_lines(claims: Sequence[Claim]) -> list[str]:
    """Return a line for each claim: the verdict, the claim, and the effect with its interval."""
    lines = []
    for claim in claims:
        details = ", ".join(filter(None, [claim.remark, _signed(claim)]))
        lines.append(f"{claim.verdict:{len(NOT_SHOWN)}}  {claim.text}" + (f": {details}" if details else ""))
    return lines


def _signed(claim: Claim) -> str:
    if claim.effect is None:
        return ""
    value, low, high = (f"{claim.scale * end:+.{claim.digits}f}" for end in claim.effect)
    return f"{value} [{low}, {high}]"
