"""How Label Studio finds the segmenter that runs beside it: its address and password in a file, and the attachment."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from mema.files import read_json, write_json

SEGMENTER = "segmenter.json"
USER = "label-studio"
TITLE = "segmenter"


def credentials(folder: Path, url: str) -> dict[str, str]:
    """Return the ``url``, ``user`` and ``password`` that ``segmenter.json`` in ``folder`` says from now on.

    The password is made once: projects that a segmenter was attached to keep it.
    """
    path = folder / SEGMENTER
    known = read_json(path) if path.exists() else {"user": USER, "password": secrets.token_urlsafe(24)}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_json(path, known | {"url": url})
    return known | {"url": url}


def attach(client: httpx.Client, project: int, folder: Path, say: Callable[[str], Any]) -> None:
    """Let ``project`` ask the segmenter that ``folder`` names; says so in one line when none answers.

    Without it an annotator still has the brush, so this is no error.
    """
    again = "start `mema annotate segmenter` and push again"
    path = folder / SEGMENTER
    if not path.exists():
        say(f"project {project}: the smart tools have no model: {again}")
        return
    known = read_json(path)
    values = {
        "project": project,
        "title": TITLE,
        "url": known["url"],
        "is_interactive": True,
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": known["user"],
        "basic_auth_pass": known["password"],
    }
    attached = client.get("/api/ml", params={"project": project}).raise_for_status().json()
    ours = [backend for backend in attached if backend["title"] == TITLE]
    if any(backend["url"] == known["url"] and backend["state"] == "CO" for backend in ours):
        return
    answer = client.patch(f"/api/ml/{ours[0]['id']}", json=values) if ours else client.post("/api/ml", json=values)
    if answer.status_code == 400:
        say(f"project {project}: Label Studio reaches no segmenter at {known['url']}: {again}")
        return
    answer.raise_for_status()
