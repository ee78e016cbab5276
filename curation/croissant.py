"""Croissant metadata: the release as JSON-LD that catalogues and the ``mlcroissant`` package read (MLCommons, 1.0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curation.making import Making
from mema.records import Split
from mema.release import SEGMENTATION, SPLITS

CONFORMS = "http://mlcommons.org/croissant/1.0"
LICENCES = {
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-nc-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "cc-by-sa-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
}
KINDS = {"string": "sc:Text", "double": "sc:Float", "int64": "sc:Integer", "bool": "sc:Boolean"}
IMAGES = ("image", "mask")
MEANING = {
    "image": "A face, PNG.",
    "mask": "The tumour mask, PNG of the image's size, where there is one.",
    "image_id": "Names the image in every version.",
    "subject_id": "Pseudonym; each virtual patient is a subject of its own.",
    "disease": "As annotated.",
    "severity": "As annotated: slight, mid or heavy.",
    "age": "In years, as asked of the generator.",
    "gender": "As asked of the generator.",
    "skin_tone": "Step of the Monk scale, as asked of the generator.",
    "has_mask": "Whether a mask lies beside the image.",
    "split": "train, selection or validation.",
}
# The vocabulary that the specification prescribes; a reader resolves nothing over the network.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def describe(folder: Path, name: str, version: str, making: Making, masks: Mapping[Split, int]) -> dict[str, Any]:
    """Return the metadata of the release in ``folder``, whose masks subset has the splits ``masks``.

    One record set holds all images, a second one, ``seg``, those with a mask. Paths are relative to the folder.
    """
    schema = pq.read_schema(next((folder / SPLITS[0]).glob("*.parquet")))
    kinds = {one.name: KINDS[str(one.type)] for one in schema if one.name in MEANING and one.name not in IMAGES}
    parts: list[tuple[str, str, Iterable[str]]] = [("default", "All images.", SPLITS)]
    if masks:
        parts.append((SEGMENTATION, "The images that have a tumour mask.", [f"{SEGMENTATION}/{one}" for one in masks]))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": name,
        "description": f"Faces of virtual patients, with diseases as annotated. README.md of {name} is the card.",
        "version": version,
        "license": LICENCES.get(making.licence, making.licence),
        **({"datePublished": making.date} if making.date else {}),
        "distribution": [_files(part, folders) for part, _, folders in parts],
        "recordSet": [_records(part, text, kinds) for part, text, _ in parts],
    }


def _files(part: str, folders: Iterable[str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{part}-shards",
        "name": f"{part}-shards",
        "encodingFormat": "application/x-parquet",
        "includes": [f"{folder}/*.parquet" for folder in folders],
    }


def _records(part: str, text: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    def field(name: str) -> dict[str, Any]:
        source: dict[str, Any] = {"fileSet": {"@id": f"{part}-shards"}, "extract": {"column": name}}
        if name in IMAGES:
            source["transform"] = {"jsonPath": "bytes"}
        return {
            "@type": "cr:Field",
            "@id": f"{part}/{name}",
            "name": name,
            "description": MEANING[name],
            "dataType": "sc:ImageObject" if name in IMAGES else kinds[name],
            "source": source,
        }

    # A missing mask is no image, and readers decode every cell: only the subset, where none is missing, declares it.
    names = ["image", *(["mask"] if part == SEGMENTATION else []), *kinds]
    return {
        "@type": "cr:RecordSet",
        "@id": part,
        "name": part,
        "description": text,
        "key": {"@id": f"{part}/image_id"},
        "field": [field(name) for name in names],
    }
