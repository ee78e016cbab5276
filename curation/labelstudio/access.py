"""Talk to a Label Studio server: which one, in whose name, and one clear line when it does not answer."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import secrets
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import httpx

from curation.labelstudio.server import SERVER
from mema.errors import UserError
from mema.files import atomic_write, read_json

URL = "LABEL_STUDIO_URL"
TOKEN = "LABEL_STUDIO_API_KEY"
PASSWORDS = "passwords.csv"
SECONDS = 300.0


class Access(NamedTuple):
    """A server's address and the administrator's token; ``files`` is the folder that it serves images from, None for a
    server that is not ours and gets them uploaded."""

    url: str
    token: str
    files: Path | None


def find_access(folder: Path, *, own: bool = False) -> Access:
    """Return the server named by LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, else (or with ``own``) that of ``folder``.

    UserError when there is neither.
    """
    url, token = os.environ.get(URL), os.environ.get(TOKEN)
    if (url or token) and not own:
        if not url or not token:
            raise UserError(f"an existing server needs both {URL} and {TOKEN} in the environment")
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{URL}: '{url}' is not an address such as https://labels.example.org")
        return Access(url.rstrip("/"), token, None)
    if not (folder / SERVER).is_file():
        raise UserError(f"no Label Studio server: run `mema annotate serve` first, or set {URL} and {TOKEN}")
    login = read_json(folder / SERVER)
    return Access(login["url"], login["token"], folder / "files")


def connect(access: Access) -> httpx.Client:
    """Return a client after it has shown that server and token are right; UserError otherwise."""
    client = httpx.Client(
        base_url=access.url,
        auth=_TokenAuth(access),
        timeout=SECONDS,
        follow_redirects=True,
        # What the environment names as a proxy must not see the token of a server on loopback.
        trust_env=access.files is None,
    )
    with explained(access):
        client.get("/api/current-user/whoami").raise_for_status()
    return client


class _TokenAuth(httpx.Auth):
    """A legacy token as it is; a personal access token is exchanged for one of five minutes whenever that runs out."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.header = "" if access.token.count(".") == 2 else f"Token {access.token}"

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        personal = self.access.token.count(".") == 2
        for fresh in (not self.header, personal):
            if fresh:
                url = f"{self.access.url}/api/token/refresh"
                answer = yield httpx.Request("POST", url, json={"refresh": self.access.token})
                answer.read()
                if not answer.is_success:
                    return
                self.header = f"Bearer {answer.json()['access']}"
            request.headers["Authorization"] = self.header
            response = yield request
            if response.status_code != 401 or not personal:
                return


@contextlib.contextmanager
def explained(access: Access) -> Iterator[None]:
    """Turn what a server answers, or that it does not, into a UserError of one line."""
    again = "nothing is lost, run the same command again"
    try:
        yield
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise UserError(f"{access.url}: the server refuses the token: it must be an administrator's") from None
        with contextlib.suppress(httpx.HTTPError):
            error.response.read()
        text = error.response.text if error.response.is_closed else ""
        raise UserError(f"{access.url}: the server answers {code}: {one_line(text)}; {again}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = one_line(str(error) or type(error).__name__)
        raise UserError(f"{access.url}: the server does not answer ({reason}): is it running? {again}") from None


def accounts(client: httpx.Client) -> dict[str, int]:
    """Return the server's accounts, e-mail to user id."""
    return {user["email"]: user["id"] for user in client.get("/api/users/").raise_for_status().json()}


def ensure_accounts(access: Access, client: httpx.Client, emails: Iterable[str], folder: Path) -> dict[str, int]:
    """Make an account for every e-mail that has none, and return them all, e-mail to user id.

    Accounts are made through the server's own invitation, as a person would be; a password is added to
    ``passwords.csv`` in ``folder``. UserError when the server lets nobody in.
    """
    with explained(access):
        present = accounts(client)
        missing = [email for email in emails if email not in present]
        if not missing:
            return present
        for email in missing:
            password = secrets.token_urlsafe(9)
            # Kept first: an account whose password nobody knows would be lost.
            _keep_password(folder, access.url, email, password)
            with httpx.Client(
                base_url=access.url, follow_redirects=True, timeout=60, trust_env=access.files is None
            ) as web:
                invitation = client.get("/api/invite").raise_for_status().json()["invite_url"]
                page = urljoin(access.url + "/", invitation)
                web.get(page).raise_for_status()
                form = {"email": email, "password": password, "csrfmiddlewaretoken": web.cookies.get("csrftoken", "")}
                web.post(page, data=form, headers={"Referer": page}).raise_for_status()
        made = accounts(client)
    lacking = next((email for email in missing if email not in made), None)
    if lacking:
        raise UserError(f"{access.url}: the account {lacking} could not be made: invite that address on the server")
    return made


def _keep_password(folder: Path, url: str, email: str, password: str) -> None:
    path = folder / PASSWORDS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8") if path.exists() else "server,email,password\n"
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow([url, email, password])
    kept = [line for line in lines.splitlines() if not line.startswith(f"{url},{email},")]
    atomic_write(path, "\n".join([*kept, row.getvalue()]))


def one_line(text: str) -> str:
    """The first 200 characters of an answer, on one line."""
    return " ".join(text.split())[:200]
