"""``mema annotate serve`` on a real PostgreSQL. Filling an empty one takes the server minutes, so only when asked for:
``MEMA_POSTGRESQL=/usr/lib/postgresql/15/bin python -m pytest tests/curation/labelstudio/test_postgresql.py``."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from label_studio_world import LiveServer, choice, make_build, run_command

from curation.labelstudio import server
from curation.labelstudio.rounds import load_rounds

PROGRAMS = os.environ.get("MEMA_POSTGRESQL", "")
PASSWORD = "p@ss word"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.label_studio,
    pytest.mark.skipif(not PROGRAMS, reason="MEMA_POSTGRESQL does not say where PostgreSQL's programs are"),
]


def program(name, *arguments):
    return [str(Path(PROGRAMS) / name), *map(str, arguments)]


@pytest.fixture
def database():
    """A cluster of its own with an empty database: its address, and a function that asks it."""
    # PostgreSQL does not run as root, and its own user cannot enter the folders of pytest.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="mema-postgresql-"))
    (folder / "password").write_text(PASSWORD)
    if user:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    create = program(
        "initdb", "-D", folder / "data", "-U", "mema", "--pwfile", folder / "password", "-A", "scram-sha-256"
    )
    subprocess.run(create, user=user, cwd=folder, check=True, capture_output=True)
    run = program("postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", port, "-k", folder)
    login = ["-h", "127.0.0.1", "-p", port, "-U", "mema"]
    environment = os.environ | {"PGPASSWORD": PASSWORD}

    def ask(question: str) -> str:
        command = program("psql", *login, "-Atc", question, "labels")
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    with subprocess.Popen(run, user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            while subprocess.run(program("pg_isready", *login), stdout=subprocess.DEVNULL, check=False).returncode:
                assert running.poll() is None
            subprocess.run(program("createdb", *login, "labels"), env=environment, check=True)
            yield f"postgresql://mema:p%40ss%20word@127.0.0.1:{port}/labels", ask
        finally:
            running.terminate()
    shutil.rmtree(folder)


def test_answers_lie_in_postgresql(database, tmp_path, monkeypatch):
    url, ask = database
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("MEMA_LABEL_STUDIO", str(home))
    live = LiveServer(home, LABEL_STUDIO_DATABASE=url)
    live.start()
    try:
        build = make_build(tmp_path, "relational", 3, annotators=["dr-a"], repeated=0.0)
        assert run_command(build, "annotate", "push").returncode == 0
        assert ask("select count(*) from task") == "3"
        live.stop()
        live.start()
        (plan,) = load_rounds(build.label_studio)
        live.answer(plan, "dr-a", lambda *_: [choice("decision", "accept"), choice("disease", "tao")])
        assert ask("select count(*) from task_completion") == "3"
        assert "dr-a: 3 of 3 answered" in run_command(build, "annotate", "pull").stdout
        assert not (home / "data" / server.DATABASE).exists()
    finally:
        live.stop()
