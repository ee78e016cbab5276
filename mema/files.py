"""Files that are whole or absent, their hashes, and what a result says of the machine that made it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any


def atomic_write(path: Path | str, content: bytes | str) -> Path:
    """Write ``content`` so that a reader, or a kill midway, sees the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner can read; a release is for others too.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def empty_beside(folder: Path) -> Path:
    """Return the folder in which the next content of ``folder`` is made; what an interrupted run left is removed."""
    staging = folder.with_name(f".{folder.name}.building")
    if staging.exists():
        shutil.rmtree(staging)
    return staging


def replace_folder(staging: Path, folder: Path) -> None:
    """Put the finished ``staging`` in the place of ``folder``."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(folder)


def write_json(path: Path | str, value: Any) -> Path:
    """Write ``value`` as indented JSON with sorted keys, atomically; the same value gives the same bytes."""
    return atomic_write(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; a missing or broken one raises UserError with its name."""
    from mema.errors import UserError

    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def sha256_file(path: Path | str) -> str:
    """Return the hex sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hex sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_sources(folder: Path | str, *, without: Collection[str] = ()) -> str:
    """Return the hex sha256 of the names and contents of the Python files below a folder, its folders ``without``."""
    folder = Path(folder)
    files = {file.relative_to(folder): file for file in sorted(folder.rglob("*.py"))}
    kept = {path: file for path, file in files.items() if path.parts[0] not in without}
    return sha256_json({path.as_posix(): sha256_file(file) for path, file in kept.items()})


def git_hash() -> str | None:
    """Return the commit of this source tree, with ``+dirty`` when tracked files differ; None outside git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if not commit:
        return None
    return commit + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")


def hardware() -> str:
    """Describe the machine in words that name no host: architecture and number of usable cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()}, {cores} cores"
