import json
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from mema.errors import UserError
from mema.imageset import BUILDING, MARKER, Face, ImageSet, write_imageset
from mema.records import FaceRecord, Provenance


def face(i: int) -> Face:
    random = np.random.default_rng(i)
    record = FaceRecord(
        image_id=f"image-{i:03d}",
        subject_id=f"virtual-{i // 2}",
        disease="bcc",
        age=30.5,
        gender="female",
        provenance=Provenance(prompt="A face", seed=i, donor_weight=0.25, parents=("image-000",)),
    )
    mask = random.random((32, 40)) > 0.5 if i % 2 else None
    return Face(record, random.integers(0, 256, (32, 40, 3), dtype=np.uint8), mask)


def make(start: int, stop: int) -> list[Face]:
    return [face(i) for i in range(start, stop)]


def test_round_trip_is_exact(tmp_path):
    written = write_imageset(tmp_path / "set", 10, make, config={"seed": 1}, shard_size=4)
    read = list(ImageSet.open(tmp_path / "set").faces())
    assert written.count == len(read) == 10
    for i, (record, image, mask) in enumerate(read):
        expected = face(i)
        assert record == expected.record.model_copy(update={"has_mask": expected.mask is not None})
        assert np.array_equal(image, expected.image)
        assert (mask is None) == (expected.mask is None)
        assert mask is None or np.array_equal(mask, expected.mask)


def test_batches_keep_the_order_across_shards(tmp_path):
    write_imageset(tmp_path / "set", 10, make, config={}, shard_size=3)
    batches = list(ImageSet.open(tmp_path / "set").batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert np.array_equal(np.concatenate(batches), np.stack([face(i).image for i in range(10)]))


def test_images_of_different_sizes_are_said_and_none_are_no_batch(tmp_path):
    write_imageset(tmp_path / "none", 0, make, config={})
    assert list(ImageSet.open(tmp_path / "none").batches(4)) == []

    def odd(start, stop):
        return [face(i)._replace(image=face(i).image[: 32 - i]) for i in range(start, stop)]

    write_imageset(tmp_path / "odd", 3, lambda a, b: [one._replace(mask=None) for one in odd(a, b)], config={})
    for read in (ImageSet.images, lambda one: list(one.batches(3))):
        with pytest.raises(UserError, match="odd holds images of different sizes"):
            read(ImageSet.open(tmp_path / "odd"))


def test_plain_datasets_opens_the_shards(tmp_path):
    write_imageset(tmp_path / "set", 5, make, config={}, shard_size=2)
    files = str(tmp_path / "set" / "*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["image"], datasets.Image)
    assert np.array_equal(np.asarray(loaded[3]["image"]), face(3).image)
    assert loaded[2]["mask"] is None
    assert loaded[4]["provenance"]["parents"] == ["image-000"]


def test_without_marker_it_is_not_complete_and_resumes_at_the_missing_shard(tmp_path):
    whole = write_imageset(tmp_path / "whole", 10, make, config={}, shard_size=3)
    made: list[int] = []

    def interrupted(start: int, stop: int) -> list[Face]:
        if start == 6:
            raise KeyboardInterrupt
        return make(start, stop)

    def counted(start: int, stop: int) -> list[Face]:
        made.append(start)
        return make(start, stop)

    with pytest.raises(KeyboardInterrupt):
        write_imageset(tmp_path / "set", 10, interrupted, config={}, shard_size=3)
    with pytest.raises(UserError, match="not finished"):
        ImageSet.open(tmp_path / "set")
    resumed = write_imageset(tmp_path / "set", 10, counted, config={}, shard_size=3)
    assert made == [6, 9]
    assert resumed.digest == whole.digest
    assert not (tmp_path / "set" / BUILDING).exists()


def test_another_configuration_begins_anew(tmp_path):
    write_imageset(tmp_path / "set", 8, make, config={"seed": 1}, shard_size=4)
    again = write_imageset(tmp_path / "set", 4, lambda a, b: make(a + 50, b + 50), config={"seed": 2})
    assert [record.image_id for record in again.records()] == [f"image-{i:03d}" for i in range(50, 54)]


def test_same_configuration_is_not_made_twice(tmp_path):
    write_imageset(tmp_path / "set", 4, make, config={"seed": 1})

    def never(start: int, stop: int) -> list[Face]:
        raise AssertionError("made again")

    assert write_imageset(tmp_path / "set", 4, never, config={"seed": 1}).count == 4


def test_a_changed_shard_is_found(tmp_path):
    written = write_imageset(tmp_path / "set", 4, make, config={}, shard_size=2)
    table = pq.read_table(tmp_path / "set" / "shard-00001.parquet")
    pq.write_table(table, tmp_path / "set" / "shard-00001.parquet", compression="zstd")
    with pytest.raises(UserError, match="shard-00001"):
        written.verify()


def test_duplicate_ids_and_old_schemas_are_refused(tmp_path):
    with pytest.raises(UserError, match="twice"):
        write_imageset(tmp_path / "set", 4, lambda a, b: [face(0)] * (b - a), config={}, shard_size=1)
    write_imageset(tmp_path / "old", 2, make, config={})
    marker = json.loads((tmp_path / "old" / MARKER).read_text())
    (tmp_path / "old" / MARKER).write_text(json.dumps({**marker, "schema_version": 0}))
    with pytest.raises(UserError, match="schema 0"):
        ImageSet.open(tmp_path / "old")


def test_killed_midway_the_rerun_is_bit_identical(tmp_path):
    program = """
import sys, time
sys.path.insert(0, {tests!r})
from test_imageset import make
from mema.imageset import write_imageset
def slow(start, stop):
    print(start, flush=True)
    time.sleep(0.2)
    return make(start, stop)
write_imageset({path!r}, 12, slow, config={{}}, shard_size=2)
"""
    code = program.format(tests=str(Path(__file__).parent), path=str(tmp_path / "killed"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "4":
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert not (tmp_path / "killed" / MARKER).exists()
    resumed = write_imageset(tmp_path / "killed", 12, make, config={}, shard_size=2)
    assert resumed.digest == write_imageset(tmp_path / "whole", 12, make, config={}, shard_size=2).digest


def test_a_full_disk_loses_nothing(tmp_path, small_disk):
    path = small_disk.path / "set"
    small_disk.resize(40 * 2**10)
    with pytest.raises(OSError, match="No space left"):
        write_imageset(path, 20, make, config={}, shard_size=2)
    kept = sorted(path.glob("*.parquet"))
    assert 0 < len(kept) < 10
    assert not [file for file in path.iterdir() if file.name.endswith(".part")]
    small_disk.resize(10 * 2**20)
    resumed = write_imageset(path, 20, make, config={}, shard_size=2)
    assert resumed.digest == write_imageset(tmp_path / "whole", 20, make, config={}, shard_size=2).digest
