"""Board: what must be known of a release and its protocol to check a result and to draw the page, without any face.

``leaderboard/<release>-<version>/_board.json`` holds it, so that a submission can be checked, and the page rendered,
where the release is not.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from benchmark.config import BenchmarkConfig
from benchmark.judge import REPORT, MatchThreshold, diseases_of, thresholds_of
from benchmark.names import JUDGE, NAME
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write, read_json
from mema.groups import ATTRIBUTES, GROUPS
from mema.release import Release
from mema.result import Attack, Protocol, ReleaseReference

# No method's name begins so.
FILE = "_board.json"
RANKED_BY = "balanced"


class Board(BaseModel):
    """A release under a protocol: ``diseases[i]`` and ``subject_ids[i]`` belong to ``image_ids[i]``.

    ``config`` holds the protocol's settings, ``thresholds`` the judge's verification distances, ``attacks`` the columns
    of attackers and their certificates, ``noise`` how much a track's metric varies when it is measured again.
    ``groups[attribute][i]`` is the group of people, of ``mema.groups``, that the image shows, None where it is not
    stated; boards of before there were groups have none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    release: ReleaseReference
    clinic: str
    phantom: bool
    machine_annotated: bool
    config: BenchmarkConfig
    thresholds: dict[str, MatchThreshold]
    attacks: list[Attack] = []
    noise: dict[str, float] = {}
    image_ids: list[str]
    subject_ids: list[str]
    diseases: list[str]
    groups: dict[str, list[str | None]] = {}

    @model_validator(mode="after")
    def _one_entry_per_image(self) -> Board:
        if not len(self.image_ids) == len(self.subject_ids) == len(self.diseases):
            raise ValueError("image_ids, subject_ids and diseases differ in length")
        for attribute, column in self.groups.items():
            if attribute not in GROUPS:
                raise ValueError(f"'{attribute[:80]}' is no attribute of people")
            if len(column) != len(self.image_ids) or set(column) - {None, *GROUPS[attribute]}:
                raise ValueError(f"the groups by {attribute} are not one of {', '.join(GROUPS[attribute])} per image")
        return self

    @classmethod
    def of(cls, build: Build) -> Board:
        """Read the board of a build's release and judge, and no image; UserError when one is absent."""
        config = build.section("benchmark", BenchmarkConfig)
        release = Release.open(build.release)
        file = build.benchmark / JUDGE / REPORT
        if not file.is_file():
            raise UserError(f"{file.parent} holds no judge: run 'mema benchmark judge' first")
        report = read_json(file)
        validation = release.imageset("validation")
        records = validation.records()
        return cls(
            release=ReleaseReference(name=release.name, version=release.version, digest=release.digest),
            clinic=release.clinic,
            phantom=release.phantom,
            machine_annotated=release.machine_annotated,
            # What does not move a score is no part of the rules.
            config=config.model_copy(update={"methods": (), "batch_size": 32, "examples": 0, "time_limit": 600.0}),
            thresholds=thresholds_of(report),
            attacks=list(report["certificates"].values()),
            noise=report["noise"],
            image_ids=[record.image_id for record in records],
            subject_ids=[record.subject_id for record in records],
            diseases=diseases_of(validation),
            groups={name: [group_of(record) for record in records] for name, group_of in ATTRIBUTES.items()},
        )

    @classmethod
    def load(cls, path: Path) -> Board:
        """Read a board; UserError names the file and what is wrong."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def save(self, path: Path) -> Path:
        """Write the board as JSON; the same board gives the same bytes."""
        return atomic_write(path, self.model_dump_json(indent=1) + "\n")

    def same_rules(self, other: Board) -> bool:
        """Whether a result that holds against one holds against the other: all but the groups is equal."""
        return self.model_copy(update={"groups": {}}) == other.model_copy(update={"groups": {}})

    @property
    def protocol(self) -> Protocol:
        """The rules, by name and version."""
        return self.config.protocol_reference()


def folder_of(release: ReleaseReference, shelf: Path) -> Path:
    """Return where the shelf keeps a release's results; UserError when the name cannot be a folder's."""
    name = f"{release.name}-{release.version}"
    if not NAME.fullmatch(name):
        raise UserError(f"'{name[:80]}' cannot be a release's name: letters, digits, '.', '_' and '-' make one")
    return shelf / name
