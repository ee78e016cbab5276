"""What a method may be called: its name becomes a folder, a page and a row."""

from __future__ import annotations

import re

from mema.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
JUDGE = "judge"


def check_name(name: str) -> str:
    """Return ``name`` if results can go under it; UserError if not."""
    if name == JUDGE:
        raise UserError(f"'{JUDGE}' is where the judge lies and cannot be a method's name")
    if not NAME.fullmatch(name):
        raise UserError(f"'{name[:80]}' cannot be a method's name: letters, digits, '.', '_' and '-' make one")
    return name
