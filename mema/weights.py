"""Weights by name: licence, hash and where they lie, from the one table ``weights/weights.yaml``.

Nothing is ever downloaded: weights that cannot be shipped are put in place by the user, and what is missing is
said in one line. ``MEMA_WEIGHTS`` names another folder than the project's own ``weights/``.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from mema.config import Config, read_yaml, validate
from mema.errors import UserError, nearest
from mema.files import sha256_file, sha256_json

TABLE = "weights.yaml"


class Weights(Config):
    """One row of the table; ``sha256`` is a file's hash or, for a folder, that of its files' names and hashes."""

    path: str
    licence: str
    origin: str
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


def root() -> Path:
    """Return the folder of weights: ``MEMA_WEIGHTS`` or the project's own."""
    return Path(os.environ.get("MEMA_WEIGHTS") or Path(__file__).parents[1] / "weights")


def table() -> dict[str, Weights]:
    """Return all rows by name; the table itself always comes with the project."""
    rows = read_yaml(Path(__file__).parents[1] / "weights" / TABLE)
    return {name: validate(Weights, row, f"{TABLE}: {name}") for name, row in rows.items()}


def locate(name: str) -> Path:
    """Return where the weights called ``name`` lie; UserError says what is missing and under which licence."""
    rows = table()
    if name not in rows:
        raise UserError(f"unknown weights '{name}'{nearest(name, rows)}")
    path = root() / rows[name].path
    if not path.exists():
        raise UserError(
            f"weights '{name}' are missing: looked for {path}; origin: {rows[name].origin};"
            f" licence: {rows[name].licence}"
        )
    return path


def find_weights(source: str | Path, *, file: bool = False) -> Path:
    """Return the folder or file that ``source`` means: an existing path, or else a name in the table of weights.

    With ``file`` a folder is no path. UserError when there is neither, with the licence of the named weights.
    """
    path = Path(source)
    return path if (path.is_file() if file else path.exists()) else locate(str(source))


def digest(path: Path) -> str:
    """Return the sha256 of a file, or of the relative names and hashes of a folder's files but its model card."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "README.md")
    return sha256_json({file.relative_to(path).as_posix(): sha256_file(file) for file in files})


def state(name: str) -> str:
    """Return ``"ok"``, ``"missing"``, ``"changed"`` or, without a recorded hash, ``"present"``."""
    row = table()[name]
    path = root() / row.path
    if not path.exists():
        return "missing"
    if row.sha256 is None:
        return "present"
    return "ok" if digest(path) == row.sha256 else "changed"
