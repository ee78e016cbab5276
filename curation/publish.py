"""Publish: copy a built release to ``data/<name>/<version>`` and track ``data`` by DVC.

``mema release publish --config configs/demo.yaml``; a version that was published never
changes, unless it is a phantom's and ``--replace`` says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from mema.build import Build
from mema.errors import UserError
from mema.release import Release


def publish(build: Build, *, replace: bool = False) -> Path:
    """Copy ``Build.release`` to its versioned place, run ``dvc add`` on the data folder, and return the place.

    Publishing the same release again changes nothing. UserError when the release is not whole, when another one was
    published under its version, or when DVC is missing or refuses. ``replace`` lets a phantom release, which nobody
    relies on, take the place of another of its version.
    """
    release = Release.open(build.release)
    release.verify()
    target = build.data / release.name / release.version
    published = Release.open(target) if target.exists() else None
    if published is not None:
        published.verify()
    if published is None or published.digest != release.digest:
        if published is not None and not (replace and release.phantom and published.phantom):
            raise UserError(f"{target} holds another release: give this one a new version in {build.config_path}")
        staging = target.with_name(f".{target.name}.copying")
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(build.release, staging)
        if published is not None:
            shutil.rmtree(target)
        staging.rename(target)
    track(build.data)
    return target


def track(folder: Path) -> None:
    """Run ``dvc add`` on ``folder``; UserError when DVC is missing, or with what it says."""
    if find_spec("dvc") is None:
        raise UserError("DVC is not installed: pip install 'openmema[pipeline]'")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", folder.name],
        cwd=folder.resolve().parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"dvc add {folder}: {lines[0].removeprefix('ERROR: ')}")
