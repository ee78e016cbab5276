"""What a method is given, for tools that take files (``mema benchmark export --config … FOLDER``)."""

from __future__ import annotations

from pathlib import Path

from benchmark.config import BenchmarkConfig
from benchmark.judge import OTHERS, OWN
from benchmark.names import JUDGE
from mema.build import Build
from mema.errors import UserError
from mema.files import empty_beside, replace_folder
from mema.imageset import ImageSet, encode_png
from mema.release import Release


def inputs_of(build: Build) -> list[ImageSet]:
    """Return the validation split and, where attackers are in force, the photos that they have de-identified.

    UserError when release or judge are absent.
    """
    release = Release.open(build.release)
    if not build.section("benchmark", BenchmarkConfig).ladder.attackers:
        return [release.imageset("validation")]
    judge = build.benchmark / JUDGE
    if not judge.is_dir():
        raise UserError(f"{judge} holds no judge: run 'mema benchmark judge' first")
    return [release.imageset("validation"), ImageSet.open(judge / OWN), ImageSet.open(judge / OTHERS)]


def export_inputs(build: Build, folder: Path) -> int:
    """Write every input as ``<image_id>.png`` to ``folder``, which must not exist, and return how many they are."""
    if folder.exists():
        raise UserError(f"{folder} exists: name a new folder")
    staging = empty_beside(folder)
    staging.mkdir(parents=True)
    count = 0
    for imageset in inputs_of(build):
        for face in imageset.faces():
            (staging / f"{face.record.image_id}.png").write_bytes(encode_png(face.image))
            count += 1
    replace_folder(staging, folder)
    return count
