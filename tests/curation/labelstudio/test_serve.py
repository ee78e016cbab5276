"""``mema annotate serve`` as a builder runs it."""

import contextlib
import csv
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from label_studio_world import VENV, make_build

from curation.labelstudio import access, server
from mema.errors import UserError
from mema.files import read_json

ROOT = Path(__file__).parents[3]


@pytest.mark.label_studio
def test_serve_makes_accounts_and_stops_cleanly(live, tmp_path):
    build = make_build(tmp_path, "served", 1, annotators=["dr-a", "dr-b"], adjudicators=["senior"])
    home = tmp_path / "home"
    home.mkdir()
    (home / "venv").symlink_to(VENV)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "-m", "mema.cli", "annotate", "serve", "--config", str(build.config_path)]
    environment = os.environ | {"MEMA_LABEL_STUDIO": str(home)}
    with subprocess.Popen([*command, "--port", str(port)], env=environment, cwd=ROOT, stdout=-1, text=True) as serving:
        assert serving.stdout.readline() == f"Label Studio: http://127.0.0.1:{port}\n"
        serving.stdout.readline()
        assert "Ctrl+C" in serving.stdout.readline()
        own = access.find_access(home, own=True)
        with contextlib.closing(access.connect(own)) as client:
            emails = {"dr-a@example.org", "dr-b@example.org", "senior@example.org"}
            assert emails < set(access.accounts(client))
        with (home / access.PASSWORDS).open() as file:
            assert {row["email"] for row in csv.DictReader(file)} == emails
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        again = subprocess.run([*command, "--port", "1"], env=environment, cwd=ROOT, capture_output=True, text=True)
        assert again.returncode == 2
        assert again.stderr == f"mema: a server of {home} is running already\n"
        serving.send_signal(signal.SIGINT)
        assert serving.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health")


@pytest.mark.label_studio
def test_the_server_listens_to_this_machine_only(live):
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert [address.split(":")[0] for address in listening if int(address.split(":")[1], 16) == live.port] == [
        "0100007F"
    ]


def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is taken"), server.running(tmp_path, port=port):
            pass


@pytest.mark.parametrize("url", ["mysql://a@b/c", "postgresql:///name", "postgresql://host", "postgresql://h:x/n", "x"])
def test_a_wrong_database_is_refused(url):
    with pytest.raises(UserError, match="not of the form postgresql://"):
        server._database(url)


def test_a_database_url_is_taken_apart():
    assert server._database("postgresql://me:p%40ss@db.example.org/labels") == {
        "DJANGO_DB": "default",
        "POSTGRE_HOST": "db.example.org",
        "POSTGRE_PORT": "5432",
        "POSTGRE_NAME": "labels",
        "POSTGRE_USER": "me",
        "POSTGRE_PASSWORD": "p@ss",
    }


def test_without_a_server_the_next_step_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(access.URL, raising=False)
    monkeypatch.delenv(access.TOKEN, raising=False)
    with pytest.raises(UserError, match="run `mema annotate serve` first"):
        access.find_access(tmp_path)
    monkeypatch.setenv(access.URL, "https://labels.example.org")
    with pytest.raises(UserError, match="needs both"):
        access.find_access(tmp_path)
    monkeypatch.setenv(access.TOKEN, "x")
    assert access.find_access(tmp_path).files is None
    monkeypatch.setenv(access.URL, "labels.example.org")
    with pytest.raises(UserError, match="is not an address"):
        access.find_access(tmp_path)


def test_a_login_is_made_once(tmp_path):
    first = server._login(tmp_path, "http://127.0.0.1:1")
    second = server._login(tmp_path, "http://127.0.0.1:2")
    assert second == first | {"url": "http://127.0.0.1:2"} == read_json(tmp_path / server.SERVER)
    assert len(first["token"]) == 40
