"""One Label Studio server for the whole session."""

import os

import pytest
from label_studio_world import VENV, LiveServer

from curation.labelstudio import access, server
from mema.errors import UserError


@pytest.fixture(scope="session")
def live(tmp_path_factory):
    """The server; without one the test fails where MEMA_REQUIRE_LABEL_STUDIO is set, as in CI, and is skipped else."""
    try:
        server.install(VENV)
    except UserError as error:
        if os.environ.get("MEMA_REQUIRE_LABEL_STUDIO"):
            raise
        pytest.skip(str(error))
    one = LiveServer(tmp_path_factory.mktemp("label-studio"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def here(live, monkeypatch):
    """Commands and functions of the test meet the session's server."""
    monkeypatch.setenv("MEMA_LABEL_STUDIO", str(live.home))
    monkeypatch.delenv(access.URL, raising=False)
    monkeypatch.delenv(access.TOKEN, raising=False)
