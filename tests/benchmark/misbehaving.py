"""Methods as outsiders may write them; which fault an image brings about is the value of its first pixel."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from baselines.protocol import NoParameters

GOOD, RAISES, NAN, SMALL, FEW, NOTHING, WRITES, SWALLOWS, STARTS, HANGS, DIES, EXITS = range(10, 22)


class Misbehaving:
    name, revision, reversible, prior = "misbehaving", "1", False, "None"
    parameters_model = NoParameters

    def __init__(self, parameters: NoParameters) -> None:
        self.parameters = parameters

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> object:
        print("a method may print")
        faults = set(images[:, 0, 0, 0].tolist()) - {GOOD}
        return self.misbehave(faults.pop(), images) if faults else 255 - images

    def misbehave(self, fault: int, images: np.ndarray) -> object:
        outside = Path(os.environ["OUTSIDE"], "canary.txt")
        if fault == RAISES:
            raise RuntimeError(f"no file {outside}\nand more")
        if fault == WRITES:
            outside.write_text("x")
        if fault == SWALLOWS:
            try:
                outside.write_text("x")
            except OSError:
                return images
        if fault == STARTS:
            subprocess.run(["cp", "/etc/hostname", str(outside)], check=True, capture_output=True)
        if fault == HANGS:
            time.sleep(600)
        if fault == DIES:
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == EXITS:
            raise SystemExit(3)
        answers = {NAN: np.full(images.shape, np.nan), SMALL: images[:, 1:], FEW: images[1:], NOTHING: None}
        return answers[fault]


class Slow(Misbehaving):
    """Takes its time over every batch, and leaves a note of it in its own folder."""

    name = "slow"

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> object:
        time.sleep(float(os.environ.get("SLOW", "0")))
        return 255 - images


class Unready(Misbehaving):
    def __init__(self, parameters: NoParameters) -> None:
        raise RuntimeError("no weights in /home/someone/weights.bin")


class Jittery(Misbehaving):
    """Draws from a generator of its own, so that no two runs are alike."""

    name = "jittery"

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> object:
        return np.random.default_rng().integers(0, 256, images.shape, np.uint8)
