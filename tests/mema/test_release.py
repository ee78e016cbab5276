import subprocess

import numpy as np
import pytest

from mema.errors import UserError
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord
from mema.release import SPLITS, Release


def sealed(folder):
    for number, split in enumerate(SPLITS):
        faces = [
            Face(
                FaceRecord(image_id=f"{split}-{i}", subject_id=f"{split}-{i}", disease="bcc", split=split),
                np.full((32, 32, 3), 10 * i, np.uint8),
            )
            for i in range(number + 1)
        ]
        write_imageset(folder / split, len(faces), lambda a, b, faces=faces: faces[a:b], config={})
    (folder / "README.md").write_text("A card.\n")
    return Release.seal(
        folder,
        name="test",
        version="1.0.0",
        clinic="eye_clinic",
        phantom=True,
        machine_annotated=True,
        annotators=("oracle",),
    )


def test_a_sealed_release_opens_and_verifies(tmp_path):
    release = sealed(tmp_path / "a")
    assert Release.open(tmp_path / "a") == release
    assert release.counts == {"train": 1, "selection": 2, "validation": 3}
    assert [record.split for record in release.imageset("validation").records()] == ["validation"] * 3
    release.verify()
    subprocess.run(["sha256sum", "--check", "--quiet", "checksums.sha256"], cwd=tmp_path / "a", check=True)


def test_the_same_content_has_the_same_digest(tmp_path):
    assert sealed(tmp_path / "a").digest == sealed(tmp_path / "b").digest


def test_changed_missing_and_unfinished_releases_are_refused(tmp_path):
    release = sealed(tmp_path / "a")
    (tmp_path / "a" / "README.md").write_text("Another card.\n")
    with pytest.raises(UserError, match=r"README.md is not what was released"):
        release.verify()
    (tmp_path / "a" / "README.md").unlink()
    with pytest.raises(UserError, match=r"lacks README.md"):
        Release.open(tmp_path / "a")
    (tmp_path / "a" / "release.json").unlink()
    with pytest.raises(UserError, match="no release"):
        Release.open(tmp_path / "a")
