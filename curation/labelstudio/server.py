"""A Label Studio server of one's own: installed once in its own environment, on loopback, without telemetry.

It gets an environment of its own because it holds libraries of the project to older versions. Everything it needs and
writes lies below one folder, ``.labelstudio`` (elsewhere by ``MEMA_LABEL_STUDIO``): ``venv/``, ``data/`` with the
database, ``files/`` with the images, ``server.json`` and ``passwords.csv`` with what opens it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mema.errors import UserError
from mema.files import read_json, write_json

VERSION = "1.23.2"
REQUIREMENT = f"label-studio=={VERSION}"
# Migrating an empty database takes over a minute; a migrated one is kept beside the program that made it.
EMPTY_DATABASE = "empty.sqlite3"
DATABASE = "label_studio.sqlite3"
SERVER = "server.json"
LOG = "server.log"
START_SECONDS = 600
STOP_SECONDS = 20


def home() -> Path:
    """Return the folder of the server."""
    return Path(os.environ.get("MEMA_LABEL_STUDIO", ".labelstudio")).absolute()


def install(venv: Path, say: Callable[[str], Any] = print) -> None:
    """Install the server into ``venv`` unless it is there; UserError when that fails."""
    done = venv / f"installed-{VERSION}"
    if done.exists():
        return
    say(f"installing {REQUIREMENT} into {venv}, about 1 GB, once")
    shutil.rmtree(venv, ignore_errors=True)
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    python = venv / "bin" / "python"
    if uv:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)])
        _run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), REQUIREMENT])
    else:
        _run([sys.executable, "-m", "venv", str(venv)])
        _run([str(python), "-m", "pip", "install", "--quiet", REQUIREMENT])
    say("preparing an empty database, once")
    scratch = venv / "scratch"
    _run([str(venv / "bin" / "label-studio"), "version"], env=_environment(scratch, database=None))
    (scratch / DATABASE).replace(venv / EMPTY_DATABASE)
    shutil.rmtree(scratch)
    done.touch()


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    port: int,
    database: str | None = None,
    venv: Path | None = None,
    say: Callable[[str], Any] = print,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server of ``folder`` on 127.0.0.1:``port`` until the block ends; ``server.json`` then says how to log in.

    ``database`` is a PostgreSQL URL, None means SQLite below ``folder``. UserError when the port is taken, a server
    of this folder runs already, or it does not start.
    """
    venv = venv or folder / "venv"
    # Passwords and tokens lie in it.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "files").mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"a server of {folder} is running already") from None
        # The server would take the next free port without a word.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise UserError(f"port {port} is taken: choose another one with --port") from None
        install(venv, say)
        data = folder / "data"
        if database is None and not (data / DATABASE).exists():
            data.mkdir(parents=True, exist_ok=True)
            part = data / f".{DATABASE}.part"
            shutil.copyfile(venv / EMPTY_DATABASE, part)
            part.replace(data / DATABASE)
        login = _login(folder, f"http://127.0.0.1:{port}")
        process = _start(folder, venv, port, database, login)
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and what it started: asked first, then killed."""
    for sent, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def until_ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until Ctrl+C; UserError when the server ends by itself."""
    try:
        process.wait()
    except KeyboardInterrupt:
        return
    raise UserError("Label Studio ended by itself: run the same command again")


def _start(folder: Path, venv: Path, port: int, database: str | None, login: dict[str, str]) -> subprocess.Popen[bytes]:
    import httpx

    command = [str(venv / "bin" / "label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1"]
    environment = _environment(folder / "data", database) | {
        "LABEL_STUDIO_HOST": login["url"],
        "LABEL_STUDIO_USERNAME": login["email"],
        "LABEL_STUDIO_PASSWORD": login["password"],
        "LABEL_STUDIO_USER_TOKEN": login["token"],
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder / "files"),
    }
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{login['url']}/health", timeout=2, trust_env=False).is_success:
                    return process
            time.sleep(0.5)
    except BaseException:
        stop(process)
        raise
    stop(process)
    raise UserError(f"Label Studio did not start: {folder / LOG} says why")


def _login(folder: Path, url: str) -> dict[str, str]:
    """Return the administrator's login, made at the first start and kept."""
    path = folder / SERVER
    if path.exists():
        login = read_json(path)
    else:
        login = {"email": "admin@example.org", "password": secrets.token_urlsafe(12), "token": secrets.token_hex(20)}
    login["url"] = url
    write_json(path, login)
    return login


def _environment(data: Path, database: str | None) -> dict[str, str]:
    """The server also reads bare names such as HOST: only what is set here counts."""
    foreign = ("LABEL_STUDIO_", "POSTGRE_", "DJANGO_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    for name in ("HOST", "PORT", "USERNAME", "PASSWORD", "USER_TOKEN", "DEBUG", "PYTHONPATH", "VIRTUAL_ENV"):
        kept.pop(name, None)
    return {
        **kept,
        **_database(database),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        # Empty, not unset: unset means the maker's own address.
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        # Lets it ask a model that runs beside it on this machine.
        "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false",
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
    }


def _database(url: str | None) -> dict[str, str]:
    if url is None:
        return {"DJANGO_DB": "sqlite"}
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        parts, port = urlsplit(""), 0
    name = parts.path.strip("/")
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not name:
        raise UserError("the database is not of the form postgresql://user:password@host:port/name")
    return {
        "DJANGO_DB": "default",
        "POSTGRE_HOST": parts.hostname,
        "POSTGRE_PORT": str(port),
        "POSTGRE_NAME": unquote(name),
        "POSTGRE_USER": unquote(parts.username or ""),
        "POSTGRE_PASSWORD": unquote(parts.password or ""),
    }


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise UserError(f"installing Label Studio failed: {lines[-1].strip() if lines else done.returncode}")
