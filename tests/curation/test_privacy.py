"""What is private stays private: a canary in every patient's id and path, and a search of every public byte."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
from curation_world import CANARY

from curation.audit import NEAREST
from mema.imageset import ImageSet, encode_png


def strings_of(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings_of(key)
            yield from strings_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings_of(inner)
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    elif value is not None:
        yield str(value)


def public_text(build):
    """Every public file as text: its raw bytes and, for parquet, all that it decodes to, metadata included."""
    for file in sorted(build.runs.rglob("*")):
        if not file.is_file() or build.donors in file.parents or build.candidates in file.parents:
            continue
        yield file, file.name
        yield file, file.read_bytes().decode("latin-1")
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            yield file, "\n".join(strings_of(table.to_pylist()))
            yield file, "\n".join(strings_of(table.schema.metadata or {}))


def test_no_public_file_names_a_patient_a_path_or_a_photo(released):
    photos = [*ImageSet.open(released.cohort).faces(), *ImageSet.open(released.controls).faces()]
    secrets = {CANARY, str(released.private), str(released.config_path.parent)}
    for photo in photos:
        secrets |= {
            hashlib.sha256(encode_png(photo.image)).hexdigest(),
            hashlib.sha256(photo.image.tobytes()).hexdigest(),
        }
    for name in (released.cohort, released.controls):
        opened = ImageSet.open(name)
        secrets |= {opened.digest, *(shard["sha256"] for shard in opened.shards)}
    searched = 0
    for file, text in public_text(released):
        searched += 1
        found = next((secret for secret in secrets if secret in text), None)
        assert found is None, f"{file.name} holds {found}"
    assert searched > 40


def test_the_search_finds_what_it_looks_for(released):
    """The private table is where the canary lives: the same search must find it there."""
    table = pq.read_table(released.private_audit / NEAREST)
    assert CANARY in "\n".join(strings_of(table.to_pylist()))


def test_public_audit_holds_flags_and_rates_but_no_distance_of_a_candidate(released):
    flags = pq.read_table(released.audit / "scores.parquet")
    kinds = {flags.schema.field(name).type for name in flags.column_names if name != "image_id"}
    assert kinds == {pa.bool_()}
    report = json.loads((released.audit / "audit.json").read_text())
    assert not any(name.startswith("virtual-") for name in strings_of(report))
