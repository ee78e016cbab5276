"""A release on a disk that is soon full."""

import pytest
import yaml
from label_studio_world import run_command
from release_world import configure, curate, faces

from curation.release import build_release
from mema.build import Build
from mema.release import Release


def test_a_full_disk_costs_no_release(tmp_path, small_disk):
    build = configure(small_disk.path, "1.0.0")
    curate(build, faces())
    small_disk.leave(8)
    done = run_command(build, "release", "build")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "mema: the disk is full: free some space and run the same command again"
    assert not build.release.exists()

    small_disk.resize(64 * 2**20)
    made = build_release(build)
    elsewhere = configure(tmp_path, "1.0.0")
    curate(elsewhere, faces())
    assert made.digest == build_release(elsewhere).digest

    values = yaml.safe_load(build.config_path.read_text())
    values["release"]["version"] = "1.0.1"
    build.config_path.write_text(yaml.safe_dump(values))
    small_disk.leave(8)
    with pytest.raises(OSError, match="No space left"):
        build_release(Build.load(build.config_path))
    Release.open(build.release).verify()
    assert Release.open(build.release).digest == made.digest
