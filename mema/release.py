"""Release: a versioned dataset as a folder of splits, a card, an audit and checksums (DESIGN §2, §4).

Layout: ``<split>/`` ImageSets, ``seg/<split>/`` (the images with a mask), ``README.md`` (the card), ``audit.json``,
``annotations.csv`` and other documents, ``checksums.sha256`` (for ``sha256sum -c``) and ``release.json``, written last:
a folder without it is not a release.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mema.errors import UserError
from mema.files import atomic_write, read_json, sha256_file, sha256_json
from mema.imageset import ImageSet
from mema.records import Split

SCHEMA_VERSION = 1
FILE = "release.json"
CHECKSUMS = "checksums.sha256"
SPLITS: tuple[Split, ...] = get_args(Split)
SEGMENTATION = "seg"


class Predecessor(BaseModel):
    """The release that this one continues."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    digest: str


class Release(BaseModel):
    """What a release is; ``digest`` hashes the names and hashes of all its files but this one.

    ``counts`` are the images of each split, ``masks`` those of each split of the masks subset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    clinic: str
    phantom: bool
    machine_annotated: bool
    annotators: tuple[str, ...]
    counts: dict[Split, int]
    masks: dict[Split, int] = {}
    previous: Predecessor | None = None
    files: dict[str, str]
    digest: str

    _folder: Path = Path()

    @classmethod
    def seal(
        cls,
        folder: Path | str,
        *,
        name: str,
        version: str,
        clinic: str,
        phantom: bool,
        machine_annotated: bool,
        annotators: tuple[str, ...],
        previous: Release | None = None,
    ) -> Release:
        """Hash all files of a finished ``folder`` and write ``checksums.sha256`` and ``release.json``."""
        folder = Path(folder)
        files = {file: sha256_file(folder / file) for file in listing(folder)}
        release = cls(
            name=name,
            version=version,
            clinic=clinic,
            phantom=phantom,
            machine_annotated=machine_annotated,
            annotators=annotators,
            counts={split: ImageSet.open(folder / split).count for split in SPLITS},
            masks={
                split: ImageSet.open(folder / SEGMENTATION / split).count
                for split in SPLITS
                if (folder / SEGMENTATION / split).is_dir()
            },
            previous=None if previous is None else Predecessor(version=previous.version, digest=previous.digest),
            files=files,
            digest=sha256_json(files),
        )
        atomic_write(folder / CHECKSUMS, checksums(files))
        atomic_write(folder / FILE, release.model_dump_json(indent=1) + "\n")
        return cls.open(folder)

    @classmethod
    def read(cls, folder: Path | str) -> Release:
        """Read what ``release.json`` says and look at nothing else; UserError when it is absent or broken."""
        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise UserError(f"{folder} holds no release (no {FILE}): build it first")
        try:
            release = cls.model_validate(read_json(folder / FILE))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{folder / FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        release._folder = folder
        return release

    @classmethod
    def open(cls, folder: Path | str) -> Release:
        """Open a release; UserError when it is absent, unfinished or lacks one of its files."""
        release = cls.read(folder)
        for file in release.files:
            if not (release.folder / file).is_file():
                raise UserError(f"release {folder} lacks {file}")
        return release

    def verify(self) -> None:
        """Compare every file with its hash; UserError names the first that differs."""
        for file, sha in self.files.items():
            if sha256_file(self._folder / file) != sha:
                raise UserError(f"release {self._folder}: {file} is not what was released")

    @property
    def folder(self) -> Path:
        """Return where the release lies."""
        return self._folder

    def imageset(self, split: Split) -> ImageSet:
        """Return the images of one split."""
        return ImageSet.open(self._folder / split)


def listing(folder: Path) -> list[str]:
    """Return the files of a release that its hashes cover, as sorted paths relative to ``folder``."""
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return [file for file in files if file not in (FILE, CHECKSUMS)]


def checksums(files: dict[str, str]) -> str:
    """Return file -> sha256 as the lines that ``sha256sum -c`` reads."""
    return "".join(f"{sha}  {file}\n" for file, sha in sorted(files.items()))
