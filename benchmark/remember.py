"""Keep what was computed beside what it was computed from, so that no run does it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mema.files import read_json, sha256_sources, write_json

SHOWING = ("leaderboard", "reproduce")


def remembered(path: Path, identity: dict[str, Any], compute: Callable[[], Any]) -> Any:
    """Return the JSON value of ``compute()``, kept in ``path`` while ``identity``, all it depends on, is equal.

    The code of the benchmark is part of it, but for what only shows scores.
    """
    identity = identity | {"code": sha256_sources(Path(__file__).parent, without=SHOWING)}
    if path.is_file():
        kept = read_json(path)
        if kept["identity"] == identity:
            return kept["value"]
    write_json(path, {"identity": identity, "value": compute()})
    # As it is kept, so that what follows does not depend on when it was computed.
    return read_json(path)["value"]
