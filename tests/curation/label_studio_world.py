"""A real Label Studio server that can be killed, people who answer on it, and builds whose kept images are cheap."""

import csv
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import yaml

from curation.filter import KEPT
from curation.labelstudio import access, server
from curation.labelstudio.rounds import Round
from mema.build import Build
from mema.files import read_json
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord, Provenance

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".labelstudio" / "venv"
DISEASES = ("bcc", "scc", "normal", "ptosis", "tao", "uveitis")
SHAPE = (40, 56)
# Whose accounts the server makes when it starts; those of other builds come with their push.
PHYSICIANS = ("dr-a", "dr-b", "dr-c", "dr-hand")
SENIOR = "senior"


class LiveServer:
    """``mema annotate serve``, which tests may kill and start again; ``home`` holds its database."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (home / "venv").symlink_to(VENV)
        build = make_build(home, "ward", 1, annotators=list(PHYSICIANS), adjudicators=[SENIOR])
        config = str(build.config_path)
        self.command = [sys.executable, "-u", "-m", "mema.cli", "annotate", "serve", "--config", config]
        self.environment = os.environ | {"MEMA_LABEL_STUDIO": str(home)} | environment
        for name in (access.URL, access.TOKEN):
            self.environment.pop(name, None)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self.command, "--port", str(self.port)], env=self.environment, cwd=ROOT, stdout=-1, text=True
        )
        self.said = [self.process.stdout.readline() for _ in range(3)]
        assert "Ctrl+C" in self.said[-1], "mema annotate serve did not start"
        login = read_json(self.home / server.SERVER)
        self.url, self.token = login["url"], login["token"]
        self.admin = httpx.Client(base_url=self.url, headers={"Authorization": f"Token {self.token}"}, timeout=60)

    def kill(self) -> None:
        """As a power cut does it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.kill()
        for child in children:
            os.killpg(int(child), signal.SIGKILL)
        self.process.wait()

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, as what started it does, or by SIGINT as Ctrl+C does; returns the exit code."""
        self.process.send_signal(sent)
        return self.process.wait(60)

    def password(self, name: str) -> str:
        """What a builder hands out to an annotator."""
        with (self.home / access.PASSWORDS).open() as file:
            return {row["email"]: row["password"] for row in csv.DictReader(file)}[f"{name}@example.org"]

    def log_in(self, name: str) -> httpx.Client:
        """A client with the annotator's own token, got with the password that was handed out."""
        with httpx.Client(base_url=self.url, follow_redirects=True, timeout=60) as web:
            web.get("/user/login/")
            form = {"email": f"{name}@example.org", "password": self.password(name)}
            form["csrfmiddlewaretoken"] = web.cookies["csrftoken"]
            web.post("/user/login/", data=form, headers={"Referer": f"{self.url}/user/login/"}).raise_for_status()
            token = web.get("/api/current-user/token").raise_for_status().json()["token"]
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Token {token}"}, timeout=60)

    def tasks(self, project: int) -> list[dict]:
        """All tasks of a project, with their annotations."""
        answer = self.admin.get("/api/tasks/", params={"project": project, "page_size": 1000, "fields": "all"})
        return answer.raise_for_status().json()["tasks"]

    def answer(self, plan: Round, name: str, say: Callable[[str, str, bool], list]) -> None:
        """Let an annotator answer all that is open; ``say`` of annotator, image id and whether it comes again."""
        shown = {plan.key(one): one for one in plan.queue(name)}
        with self.log_in(name) as client:
            for task in self.tasks(plan.projects[name]):
                if task["annotations"]:
                    continue
                one = shown[task["data"]["key"]]
                body = {"result": say(name, one.image_id, one.again), "lead_time": 7.5}
                client.post(f"/api/tasks/{task['id']}/annotations/", json=body).raise_for_status()


def choice(name: str, code: str) -> dict:
    """An answer's region that names a choice."""
    return {"type": "choices", "from_name": name, "to_name": "image", "value": {"choices": [code]}}


def run_command(build: Build, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``mema`` with ``arguments`` on a build, as a builder does."""
    return subprocess.run(
        [sys.executable, "-m", "mema.cli", *arguments, "--config", str(build.config_path)],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


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
