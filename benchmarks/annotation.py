"""Time and memory of ``mema annotate push`` and ``pull`` on a real Label Studio server of its own.

    python -m benchmarks.annotation --tasks 5000

One annotator answers all tasks; a third of the answers hold a painted mask. The commands run as a builder runs them,
each in a process of its own, whose largest resident memory is what the system says of it. The server is installed into
``.labelstudio/venv`` if it is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from benchmarks import common
from curation.filter import KEPT
from curation.labelstudio import server
from curation.labelstudio.access import PASSWORDS, connect, find_access
from curation.labelstudio.push import mask_region
from curation.labelstudio.rounds import load_rounds
from mema.build import Build
from mema.errors import run_script
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord

# The largest memory that wait4 tells of a child is at least that of its parent when it started it.
PROGRAM = """
import re, sys
from pathlib import Path
from mema.cli import cli
cli(sys.argv[1:], standalone_mode=False)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
DISTINCT = 32
PAGE = 500


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure the commands in turn and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--tasks", type=int, default=5000, help="how many (default: 5000)")
    parser.add_argument("--size", type=int, default=512, help="side of an image in pixels (default: 512)")
    arguments = parser.parse_args(command_line)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = make_build(folder, arguments.tasks, arguments.size)
        os.environ["MEMA_LABEL_STUDIO"] = str(folder / "server")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with server.running(folder / "server", port=port, venv=Path(".labelstudio/venv").absolute(), say=report):
            rows = [measured(build, "push"), measured(build, "push", "again")]
            give_answers(build, arguments.size)
            rows += [measured(build, "pull"), measured(build, "pull", "again")]
    print(f"{arguments.tasks} tasks of {arguments.size} px\n")
    print(common.table(["command", "seconds", "tasks/s", "peak MB"], [row(arguments.tasks, *one) for one in rows]))


def row(tasks: int, name: str, seconds: float, megabytes: float) -> list[str]:
    """Return a line of the table."""
    return [name, f"{seconds:.1f}", f"{tasks / seconds:.0f}", f"{megabytes:.0f}"]


def report(line: str) -> None:
    """Say what takes long, beside the table."""
    print(line, file=sys.stderr, flush=True)


def make_build(folder: Path, tasks: int, size: int) -> Build:
    """Return a build with ``tasks`` kept images of noise, ``size`` pixels wide; ``DISTINCT`` of them differ."""
    values = {
        "name": "benchmark",
        "clinic": "eye_clinic",
        "size": size,
        "paths": {name: str(folder / name) for name in ("private", "runs", "answers")},
        "label_studio": {"annotators": ["dr-a"], "repeated": 0.0},
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(values))
    build = Build.load(folder / "build.yaml")
    random = np.random.default_rng(0)
    # Smooth at the scale of eight pixels, so that a file is as large as that of a photo of some quality.
    drawn = random.integers(0, 256, (DISTINCT, size // 8, size // 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)

    def make(start: int, stop: int) -> list[Face]:
        names = (f"virtual-{number:06d}" for number in range(start, stop))
        return [
            Face(FaceRecord(image_id=name, subject_id=name), drawn[number % DISTINCT])
            for number, name in enumerate(names, start)
        ]

    write_imageset(build.filtered / KEPT, tasks, make, config={"candidates": "benchmark"})
    return build


def measured(build: Build, command: str, remark: str = "") -> tuple[str, float, float]:
    """Run ``mema annotate COMMAND``; returns its name, its seconds and its largest resident memory in MB."""
    begun = time.perf_counter()
    arguments = ["annotate", command, "--config", str(build.config_path)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return f"{command} {remark}".strip(), time.perf_counter() - begun, int(done.stdout.split()[-1]) / 1024


def give_answers(build: Build, size: int) -> None:
    """Answer every task in the annotator's name; every third image has a tumour, a disc."""
    (plan,) = load_rounds(build.label_studio)
    ((name, project),) = plan.projects.items()
    access = find_access(server.home(), own=True)
    rows, columns = np.ogrid[:size, :size]
    disc = mask_region((rows - size // 2) ** 2 + (columns - size // 3) ** 2 < (size // 10) ** 2)
    said = [_choice("decision", "accept"), _choice("disease", "bcc")]
    with contextlib.closing(connect(access)) as administrator, _log_in(access.url, name) as client:
        for count, task in enumerate(_tasks(administrator, project)):
            body = {"result": said if count % 3 else [*said, disc], "lead_time": 7.5}
            client.post(f"/api/tasks/{task}/annotations/", json=body).raise_for_status()


def _choice(name: str, code: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": name, "to_name": "image", "value": {"choices": [code]}}


def _tasks(client: httpx.Client, project: int) -> list[int]:
    found: list[int] = []
    parameters = {"project": project, "page_size": PAGE}
    while (answer := client.get("/api/tasks/", params={**parameters, "page": len(found) // PAGE + 1})).is_success:
        found += [task["id"] for task in answer.json()["tasks"]]
        if len(found) % PAGE:
            break
    return found


def _log_in(url: str, name: str) -> httpx.Client:
    email = f"{name}@example.org"
    with (server.home() / PASSWORDS).open() as file:
        password = next(line["password"] for line in csv.DictReader(file) if line["email"] == email)
    client = httpx.Client(base_url=url, follow_redirects=True, timeout=300, trust_env=False)
    client.get("/user/login/")
    form = {"email": email, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    client.post("/user/login/", data=form, headers={"Referer": f"{url}/user/login/"}).raise_for_status()
    token = client.get("/api/current-user/token").raise_for_status().json()["token"]
    return httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=300, trust_env=False)


if __name__ == "__main__":
    run_script(main)
