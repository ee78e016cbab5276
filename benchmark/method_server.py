"""The inside of a method's process: make the method, answer calls, let nothing of it reach the caller but bytes.

``benchmark.method_process`` is the outside. A message is JSON; images follow it as raw bytes, so that the caller never
unpickles what foreign code wrote.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import numpy as np

from benchmark.confinement import confine
from benchmark.cost import measure
from benchmark.deidentify import guarded, public, reason_of
from mema.errors import UserError
from mema.files import sha256_file, sha256_sources
from mema.registry import resolve

# A string, as in the command line's table: rooms do not import each other, and our methods stand as anyone's.
BASELINES = "baselines.registry"


def main() -> None:
    """Answer the channel whose file descriptor is the first argument until it closes.

    The first message holds ``config``, the fields of a ``baselines.registry.MethodConfig``, and ``scratch``, the one
    folder that the method may write to.
    """
    Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    # A method that lies where the caller stands is found by its module's name.
    sys.path.append(str(Path.cwd()))
    with connection.Connection(int(sys.argv[1])) as channel, suppress(EOFError):
        start = json.loads(channel.recv_bytes())
        tried = confine(Path(start["scratch"]))
        method = _make(channel, start["config"])
        while method is not None:
            request = json.loads(channel.recv_bytes())
            images = np.frombuffer(channel.recv_bytes(), np.uint8).reshape(request["shape"])
            if request["call"] == "cost":
                _time(channel, method, request, images)
            else:
                _run(channel, method, request, images, tried)


def _make(channel: connection.Connection, config: dict[str, Any]) -> Any:
    """Make the method and say what it is; None, and why, when it cannot be made."""
    try:
        method = resolve(f"{BASELINES}:make_method")(resolve(f"{BASELINES}:MethodConfig")(**config))
        _answer(channel, {"description": _describe(method)})
        return method
    except UserError as error:
        _answer(channel, {"user_error": str(error)})
    except Exception as error:  # foreign code: whatever it raises is its own
        _answer(channel, {"user_error": f"method '{config['method']}' cannot be made: {reason_of(error)}"})
    return None


def _describe(method: Any) -> dict[str, Any]:
    revision = str(method.revision)
    file = inspect.getsourcefile(type(method))
    if file is not None:
        # Who tries things out forgets to count: what has changed must not be taken for what ran before.
        revision += f"+{_source_hash(Path(file))[:8]}"
    return {
        "name": str(method.name),
        "revision": revision,
        "reversible": bool(method.reversible),
        "prior": str(method.prior),
        "parameters": method.parameters.model_dump(mode="json"),
    }


def _source_hash(file: Path) -> str:
    """The hash of a method's file, or of its whole package; but the package of all methods is nobody's own."""
    shared = Path(resolve(f"{BASELINES}:__file__")).parent
    package = (file.parent / "__init__.py").exists() and file.parent != shared
    return sha256_sources(file.parent) if package else sha256_file(file)


def _time(channel: connection.Connection, method: Any, request: dict[str, Any], images: np.ndarray) -> None:
    """Answer a request for ``cost``: as ``measure`` says, or None of a method that cannot be measured."""
    try:
        cost = measure(method, images, request["keys"], request["seed"], request["batch_size"])
    except UserError as error:
        _answer(channel, {"user_error": str(error)})
        return
    except Exception as error:  # foreign code: what it raises on an image is told where that image is asked for
        reason_of(error)
        cost = None
    _answer(channel, {"cost": cost})
    channel.send_bytes(b"")


def _run(
    channel: connection.Connection, method: Any, request: dict[str, Any], images: np.ndarray, tried: list[str]
) -> None:
    """Answer a request to ``deidentify`` or ``recover``: which images failed and why, then those that did not."""

    def call(images: np.ndarray, keys: list[str]) -> Any:
        if request["call"] == "recover":
            return method.recover(images, keys)
        return method.deidentify(images, keys=keys, seed=request["seed"])

    def run(images: np.ndarray, keys: Sequence[str]) -> Sequence[np.ndarray | str]:
        before = len(tried)
        outputs = guarded(call, images, keys)
        if len(tried) == before:
            return outputs
        if len(images) > 1:
            return [run(images[i : i + 1], keys[i : i + 1])[0] for i in range(len(images))]
        return [f"tried to write outside its folder: {public(tried[-1])}"]

    try:
        outputs = run(images, request["keys"])
    except UserError as error:
        _answer(channel, {"user_error": str(error)})
        return
    _answer(channel, {"reasons": {i: output for i, output in enumerate(outputs) if isinstance(output, str)}})
    channel.send_bytes(b"".join(output.tobytes() for output in outputs if not isinstance(output, str)))


def _answer(channel: connection.Connection, message: dict[str, Any]) -> None:
    channel.send_bytes(json.dumps(message).encode())


def _end_with_parent(parent: int) -> None:
    """Kill this process and what it started when the caller is gone, however it went."""
    while os.getppid() == parent:
        sleep(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
