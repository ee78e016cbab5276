"""Any program as a de-identifier: it is given a folder of PNG files and leaves as many of the same names in another."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from mema.config import Config
from mema.errors import UserError
from mema.photos import load_photo


class CommandParameters(Config):
    """``command`` is run without a shell for every batch; it must name ``{input}`` and ``{output}``, two folders.

    ``{seed}`` is the run's seed. ``revision`` says which version of the program ran, ``prior`` what it knows of faces
    (as in MeMa Table 3), ``timeout`` is in seconds per batch.
    """

    command: str
    revision: str
    prior: str = "Not stated"
    timeout: float = Field(default=600, gt=0)

    @field_validator("command")
    @classmethod
    def _names_both_folders(cls, command: str) -> str:
        if "{input}" not in command or "{output}" not in command:
            raise ValueError("the command must name {input} and {output}")
        return command


class Command:
    """Writes each batch as ``00000.png``, …, runs the program, and reads the files of the same names it wrote."""

    name = "command"
    reversible = False
    parameters_model = CommandParameters

    def __init__(self, parameters: CommandParameters) -> None:
        self.parameters = parameters
        self.revision = parameters.revision
        self.prior = parameters.prior

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return what the program made of ``images``, uint8 (N, H, W, 3).

        Raises UserError when there is no such program, and RuntimeError, with the end of what it said, when it
        fails, takes too long or leaves a file out.
        """
        if len(images) == 0:
            return images.copy()
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "input"), Path(folder, "output")
            source.mkdir()
            target.mkdir()
            files = [f"{i:05d}.png" for i in range(len(images))]
            for file, image in zip(files, images, strict=True):
                Image.fromarray(image).save(source / file)
            self._run(source, target, seed)
            return np.stack([self._read(target / file) for file in files])

    def _run(self, source: Path, target: Path, seed: int) -> None:
        places = {"{input}": str(source), "{output}": str(target), "{seed}": str(seed)}
        words = shlex.split(self.parameters.command)
        for place, value in places.items():
            words = [word.replace(place, value) for word in words]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=self.parameters.timeout, check=False
            )
        except FileNotFoundError:
            raise UserError(f"method 'command': no program '{words[0]}'") from None
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no answer within {self.parameters.timeout:g} s") from None
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"exit code {done.returncode}: {last}")

    def _read(self, path: Path) -> np.ndarray:
        try:
            return load_photo(path)
        except UserError as error:
            raise RuntimeError(f"{path.name}: {error}") from None
