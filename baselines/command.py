"""Any program as a de-identifier: it is given a folder of PNG files and leaves as many of the same names in another.

So published methods take part in their own environments (``configs/methods/deepprivacy.yaml`` and others): what they
are, where they come from and how they were called is kept in the result as it is for ours.
"""

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


class Source(Config):
    """Where a published method comes from: what to cite, where its code is, under which licence.

    ``install`` are the steps by hand that put it into its ``home``.
    """

    citation: str
    repository: str
    licence: str
    install: tuple[str, ...]


class CommandParameters(Config):
    """``command`` is run without a shell for every batch; it must name ``{input}`` and ``{output}``, two folders.

    ``{seed}`` is the run's seed, ``{keys}`` a text file with a key a line, in the order of the files' names.
    ``recover`` is the command that opens what ``command`` closed, for methods that can; it must name ``{keys}`` too.
    ``revision`` says which version of the program ran, ``prior`` what it knows of faces (as in MeMa Table 3),
    ``timeout`` is in seconds per batch. ``home`` is the folder in which the commands are run, with programs that lie
    in it; ``source`` says how it comes to be there.
    """

    command: str
    revision: str
    prior: str = "Not stated"
    timeout: float = Field(default=600, gt=0)
    recover: str | None = None
    home: Path | None = None
    source: Source | None = None

    @field_validator("command")
    @classmethod
    def _names_both_folders(cls, command: str) -> str:
        if "{input}" not in command or "{output}" not in command:
            raise ValueError("the command must name {input} and {output}")
        return command

    @field_validator("recover")
    @classmethod
    def _names_the_keys(cls, command: str | None) -> str | None:
        if command is not None and any(place not in command for place in ("{input}", "{output}", "{keys}")):
            raise ValueError("the command must name {input}, {output} and {keys}")
        return command


class Command:
    """Writes each batch as ``00000.png``, …, runs the program, and reads the files of the same names it wrote."""

    name = "command"
    parameters_model = CommandParameters

    def __init__(self, parameters: CommandParameters) -> None:
        self.parameters = parameters
        self.revision = parameters.revision
        self.prior = parameters.prior
        self.reversible = parameters.recover is not None

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return what the program made of ``images``, uint8 (N, H, W, 3).

        Raises UserError when there is no such program or home, and RuntimeError, with the end of what it said, when
        it fails, takes too long or leaves a file out.
        """
        return self._process(self.parameters.command, images, keys or (), seed)

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return what the program opened in published ``images`` with ``keys``; raises as ``deidentify``."""
        if self.parameters.recover is None:
            raise UserError("method 'command': its YAML names no command to recover with")
        return self._process(self.parameters.recover, images, keys, 0)

    def _process(self, command: str, images: np.ndarray, keys: Sequence[str], seed: int) -> np.ndarray:
        if len(images) == 0:
            return images.copy()
        with tempfile.TemporaryDirectory() as folder:
            source, target, secrets = Path(folder, "input"), Path(folder, "output"), Path(folder, "keys.txt")
            source.mkdir()
            target.mkdir()
            secrets.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
            files = [f"{i:05d}.png" for i in range(len(images))]
            for file, image in zip(files, images, strict=True):
                Image.fromarray(image).save(source / file)
            places = {"{input}": source, "{output}": target, "{keys}": secrets, "{seed}": seed}
            words = shlex.split(command)
            for place, value in places.items():
                words = [word.replace(place, str(value)) for word in words]
            self._run(words)
            return np.stack([self._read(target / file) for file in files])

    def _run(self, words: list[str]) -> None:
        home, steps = self.parameters.home, self.parameters.source
        if home is not None and not home.is_dir():
            how = f"; to install it by hand: {'; '.join(steps.install)}" if steps else ""
            raise UserError(f"method 'command': no folder {home}{how}")
        if home is not None and (home / words[0]).is_file():
            words = [str((home / words[0]).absolute()), *words[1:]]
        # Into a file: a pipe would be held open by whatever the program leaves running.
        with tempfile.TemporaryFile() as errors:
            try:
                done = subprocess.run(
                    words,
                    cwd=home,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    timeout=self.parameters.timeout,
                    check=False,
                )
            except (FileNotFoundError, PermissionError):
                raise UserError(f"method 'command': no program '{words[0]}'") from None
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"no answer within {self.parameters.timeout:g} s") from None
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
        if done.returncode != 0:
            raise RuntimeError(f"exit code {done.returncode}: {said[-1] if said else 'no message'}")

    def _read(self, path: Path) -> np.ndarray:
        try:
            return load_photo(path)
        except UserError as error:
            raise RuntimeError(f"{path.name}: {error}") from None
