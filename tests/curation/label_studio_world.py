"""A real Label Studio server that can be killed, and a build whose kept images are cheap."""

import contextlib
import os
import signal
import socket
from pathlib import Path

import httpx
import numpy as np
import yaml

from curation.filter import KEPT
from curation.labelstudio import server
from mema.build import Build
from mema.files import read_json
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord, Provenance

VENV = Path(__file__).parents[2] / ".labelstudio" / "venv"
DISEASES = ("bcc", "scc", "normal", "ptosis", "tao", "uveitis")
SHAPE = (40, 56)


class LiveServer:
    """A server that tests may kill and start again; ``home`` holds its database."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.stack = contextlib.ExitStack()

    def start(self) -> None:
        self.process = self.stack.enter_context(server.running(self.home, port=self.port, venv=VENV))
        login = read_json(self.home / server.SERVER)
        self.url, self.token = login["url"], login["token"]
        self.admin = httpx.Client(base_url=self.url, headers={"Authorization": f"Token {self.token}"}, timeout=60)

    def kill(self) -> None:
        """As a power cut does it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.stack.close()

    def stop(self) -> None:
        self.stack.close()


def make_build(folder: Path, name: str, count: int, **settings) -> Build:
    """A build with ``count`` kept images that name what was asked for everywhere an annotator must not see it."""
    values = {
        "name": name,
        "clinic": "eye_clinic",
        "size": 64,
        "paths": {name: f"{folder}/{name}" for name in ("private", "runs", "answers")},
        "label_studio": settings,
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(values))
    build = Build.load(folder / "build.yaml")
    random = np.random.default_rng(0)
    faces = [
        Face(
            FaceRecord(
                image_id=f"virtual-{number:04d}",
                subject_id=f"subject-{number:04d}",
                disease=DISEASES[number % len(DISEASES)],
                provenance=Provenance(
                    prompt=f"A face, eye with {DISEASES[number % 6]}", seed=number, donor_id="donor-1"
                ),
            ),
            np.kron(random.integers(0, 256, (5, 7, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)),
        )
        for number in range(count)
    ]
    write_imageset(build.filtered / KEPT, count, lambda start, stop: faces[start:stop], config={"candidates": "c0ffee"})
    return build
