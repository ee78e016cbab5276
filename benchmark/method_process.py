"""A method in a process of its own, so that what hangs, crashes or writes where it should not costs its images only.

``mema benchmark run`` calls every method so, ours and foreign ones alike; ``benchmark.method_server`` is the inside.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Event, Timer
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import ValidationError

from benchmark.deidentify import Deliver, image_key, one_line, public
from benchmark.names import check_name
from mema.errors import UserError
from mema.records import FaceRecord
from mema.result import Method

# A method that leaves so many calls in a row unanswered is not called again: its last images fail untried.
PATIENCE = 3
# Importing a framework and reading weights takes its time, however short the calls are.
START_SECONDS = 120.0
ANSWER_BYTES = 10_000_000


class _NoAnswerError(Exception):
    """The process is gone: it was late and killed, died, or did not keep to the form."""


class MethodProcess:
    """Starts a method and calls it; use it in a ``with`` statement. ``description`` is what the method says of itself.

    ``config`` holds the fields of a ``baselines.registry.MethodConfig``, ``name`` is what results call the method
    (None: as it calls itself), ``time_limit`` is in seconds for each call and, where it is longer than START_SECONDS,
    for the start. What the method prints goes to this process's standard error. Start and calls raise UserError with
    what is missing on this machine.
    """

    def __init__(self, config: dict[str, Any], *, name: str | None = None, time_limit: float) -> None:
        self._config = config
        self._name = name
        self._limit = time_limit
        self._scratch = Path(tempfile.mkdtemp(prefix="mema-method-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._unanswered = 0
        self._last = ""

    def __enter__(self) -> MethodProcess:
        try:
            said = self._start()
            self.description = said.model_copy(update={"name": self._name or check_name(said.name)})
        except _NoAnswerError as lost:
            self.close()
            raise UserError(f"method '{self._config['method']}' did not start: {lost}") from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, what it started, and its folder."""
        self._end(patience=0)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def deliver(self, seed: int) -> Deliver:
        """Return what delivers the method's outputs, each image with a key of its own."""

        def deliver(images: np.ndarray, records: Sequence[FaceRecord]) -> Sequence[np.ndarray | str]:
            return self.deidentify(images, [image_key(record, seed) for record in records], seed)

        return deliver

    def deidentify(self, images: np.ndarray, keys: Sequence[str], seed: int) -> Sequence[np.ndarray | str]:
        """Return for each of ``images``, uint8 (N, H, W, 3), its output, uint8 (H, W, 3), or why there is none."""
        return self._ask(images, keys, {"call": "deidentify", "seed": seed})

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> Sequence[np.ndarray | str]:
        """Return for each de-identified image what its key opens in it, or why there is nothing; as ``deidentify``."""
        return self._ask(images, keys, {"call": "recover"})

    def cost(self, images: np.ndarray, keys: Sequence[str], seed: int, batch_size: int) -> dict[str, Any] | None:
        """Return what ``benchmark.cost.measure`` says of the method, as it came; None where there is no answer."""
        if self._unanswered >= PATIENCE:
            return None
        request = {"call": "cost", "seed": seed, "batch_size": batch_size, "shape": images.shape, "keys": list(keys)}
        try:
            if self._process is None:
                self._start()
            answer, _ = self._exchange(request, images)
        except _NoAnswerError:
            return None
        return answer.get("cost")

    def _ask(self, images: np.ndarray, keys: Sequence[str], request: dict[str, Any]) -> Sequence[np.ndarray | str]:
        """Call the method; a batch without an answer is tried again image by image: one bad image costs no other."""
        if self._unanswered >= PATIENCE:
            return [f"given up after {PATIENCE} calls without an answer; the last: {self._last}"] * len(images)
        try:
            if self._process is None:
                self._start()
            outputs = self._call(images, keys, request)
        except _NoAnswerError as lost:
            self._unanswered += 1
            self._last = str(lost)
            if len(images) == 1:
                return [self._last]
            return [self._ask(images[i : i + 1], keys[i : i + 1], request)[0] for i in range(len(images))]
        self._unanswered = 0
        return outputs

    def _start(self) -> Method:
        self._channel, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "benchmark.method_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self._scratch), "PYTHONDONTWRITEBYTECODE": "1"},
            )
        answer, _ = self._exchange({"config": self._config, "scratch": str(self._scratch)})
        try:
            said = Method.model_validate(answer["description"])
            return said.model_copy(update={"revision": one_line(said.revision), "prior": one_line(said.prior)})
        except (KeyError, ValidationError):
            raise self._lost("no description of itself") from None

    def _call(self, images: np.ndarray, keys: Sequence[str], request: dict[str, Any]) -> Sequence[np.ndarray | str]:
        answer, data = self._exchange({**request, "shape": images.shape, "keys": list(keys)}, images)
        try:
            reasons = {int(i): public(str(reason)) for i, reason in answer["reasons"].items()}
            delivered = iter(np.frombuffer(data, np.uint8).reshape(-1, *images.shape[1:]))
            return [reasons[i] if i in reasons else next(delivered).copy() for i in range(len(images))]
        except (AttributeError, KeyError, TypeError, ValueError, StopIteration):
            raise self._lost("an answer without form") from None

    def _exchange(self, request: dict[str, Any], images: np.ndarray | None = None) -> tuple[dict[str, Any], bytes]:
        """Send a request, with its images if any, and return the answer, with its; kill what takes too long."""
        assert self._channel is not None
        late = Event()
        limit = self._limit if images is not None else max(self._limit, START_SECONDS)
        timer = Timer(limit, self._kill, [late])
        timer.start()
        data = b""
        try:
            self._channel.send_bytes(json.dumps(request).encode())
            if images is not None:
                self._channel.send_bytes(images.tobytes())
            answer = json.loads(self._channel.recv_bytes(ANSWER_BYTES))
            if not isinstance(answer, dict):
                raise ValueError
            if images is not None and "user_error" not in answer:
                data = self._channel.recv_bytes(images.nbytes)
        except (EOFError, OSError):
            raise self._lost(f"no answer within {limit:g} s" if late.is_set() else None) from None
        except (ValueError, RecursionError):
            raise self._lost("an answer without form") from None
        finally:
            timer.cancel()
        if "user_error" in answer:
            raise UserError(one_line(str(answer["user_error"]), 1000))
        return answer, data

    def _lost(self, reason: str | None) -> _NoAnswerError:
        """End the process and return what to raise; without a ``reason`` it is how the process ended."""
        # One that closed its channel is about to end by itself, and how it does is worth knowing.
        code = self._end(patience=10)
        if reason is None and code is not None and code < 0:
            reason = f"its process was ended: {signal.strsignal(-code)}"
        return _NoAnswerError(reason or f"its process ended with exit code {code}")

    def _kill(self, late: Event | None = None) -> None:
        if self._process is None:
            return
        if late is not None:
            late.set()
        # The group too: a program that the method started may be what hangs.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _end(self, patience: float) -> int | None:
        """End the process and its group, after ``patience`` seconds if need be, and return its exit code."""
        if self._process is None or self._channel is None:
            return None
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._kill()
        code = self._process.wait()
        self._process = self._channel = None
        return code
