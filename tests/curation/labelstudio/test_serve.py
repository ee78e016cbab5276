"""``mema annotate serve`` as a builder runs it."""

import contextlib
import csv
import signal
import socket
import stat
import subprocess
from pathlib import Path

import httpx
import pytest
from label_studio_world import PHYSICIANS, ROOT, SENIOR

from curation.labelstudio import access, server
from mema.errors import UserError
from mema.files import read_json


@pytest.mark.label_studio
def test_serve_makes_accounts_and_stops_cleanly(live):
    assert live.said[0] == f"Label Studio: {live.url}\n"
    emails = {f"{name}@example.org" for name in (*PHYSICIANS, SENIOR)}
    with contextlib.closing(access.connect(access.find_access(live.home, own=True))) as client:
        assert emails <= set(access.accounts(client))
    with (live.home / access.PASSWORDS).open() as file:
        assert emails <= {row["email"] for row in csv.DictReader(file)}
    assert stat.S_IMODE(live.home.stat().st_mode) == 0o700
    again = subprocess.run(
        [*live.command, "--port", "1"], env=live.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert again.stderr == f"mema: a server of {live.home} is running already\n"
    assert live.stop(signal.SIGINT) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{live.url}/health")
    live.start()


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
