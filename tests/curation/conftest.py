"""One finished build for all tests of curation, and copies of it to break."""

import shutil

import pytest
from curation_world import draw_faces, make_build

from curation.annotate import run_annotate
from curation.audit import run_audit
from curation.filter import run_filter
from curation.release import build_release
from mema.build import Build
from mema.imageset import Face


@pytest.fixture(scope="session")
def faces() -> dict[str, list[Face]]:
    """See :func:`draw_faces`."""
    return draw_faces()


@pytest.fixture(scope="session")
def released(tmp_path_factory, faces) -> Build:
    """A build after all stages; tests must not change it."""
    build = make_build(tmp_path_factory.mktemp("released"), faces)
    for stage in (run_audit, run_filter, run_annotate, build_release):
        stage(build)
    return build


@pytest.fixture
def copied(released, tmp_path) -> Build:
    """A copy of the finished build, to break."""
    shutil.copytree(released.config_path.parent, tmp_path, dirs_exist_ok=True)
    text = released.config_path.read_text().replace(str(released.config_path.parent), str(tmp_path))
    (tmp_path / "build.yaml").write_text(text)
    return Build.load(tmp_path / "build.yaml")
