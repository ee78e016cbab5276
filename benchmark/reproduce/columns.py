"""Which of our metrics stands in which column of the paper's tables, and which of our methods for which of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mema.paper import OURS, paper


class Column(NamedTuple):
    """A column: its ``title``, its ``key`` in ``mema/paper.yaml``, and our ``metric`` as results name it.

    ``metric/code`` is the mean over images of one disease. ``scale`` turns our unit into the paper's. ``digits`` are
    the paper's and ours. ``setting`` is what a configuration must say for the metric to be measured. ``claimed``: the
    paper has its own method best here, but for the methods of ``behind`` and who stands in for them.
    """

    key: str
    title: str
    metric: str
    scale: float = 1.0
    digits: tuple[int, int] = (4, 3)
    higher_is_better: bool = True
    setting: str = ""
    claimed: bool = False
    behind: tuple[str, ...] = ()


class Counterpart(NamedTuple):
    """Our methods whose name is ``prefix``, or begins with it, beside the paper's ``row``.

    ``stands_in`` names the paper's methods of whose family ours is; empty where it is that very method, or a
    ``variant`` of it.
    """

    prefix: str
    row: str
    stands_in: str = ""
    variant: bool = False

    @property
    def note(self) -> str:
        """What a table says of it behind its name."""
        if self.stands_in:
            return f" (family of {self.stands_in})"
        return f" (variant of {self.row})" if self.variant else ""

    def covers(self, method: str) -> bool:
        """Whether ``method`` is one of these."""
        return method == self.prefix or method.startswith((f"{self.prefix}-", f"{self.prefix}_"))


COUNTERPARTS = (
    Counterpart("deepprivacy", "DeepPrivacy"),
    Counterpart("ciagan", "CIAGAN"),
    Counterpart("disguise", "Disguise"),
    Counterpart("fit", "Password"),
    Counterpart("password", "Password", "Password"),
    Counterpart("personal", "Personal"),
    Counterpart("riddle", "RiDDLE"),
    Counterpart("latent_code", "RiDDLE", "Personal and RiDDLE"),
    Counterpart("medsem-deid", OURS),
    Counterpart("medsem-turn", OURS, variant=True),
)
"""docs/methods.md says what the stand-ins are."""

FLOORS = ("pass_through", "blackout")
"""They bound the scale: nobody is asked to beat them in one column alone."""


def _track(name: str) -> str:
    return f"benchmark.tracks: [{name}]"


def _lower(*arguments: Any, **settings: Any) -> Column:
    return Column(*arguments, **settings)._replace(higher_is_better=False)


def _of_disease(code: str, title: str) -> Column:
    return Column(code, title, f"disease_top1/{code}", 100, (2, 0))


TABLES: dict[str, tuple[Column, ...]] = {
    "table3": (
        Column("all", "top-1, %", "disease_top1", 100, (2, 1), claimed=True),
        Column("dice", "Dice", "dice", setting=_track("segmentation"), claimed=True),
        Column("jaccard", "Jaccard", "jaccard", setting=_track("segmentation"), claimed=True),
        _of_disease("bcc", "BCC"),
        _of_disease("conjunctivitis", "Conj"),
        _of_disease("normal", "Normal"),
        _of_disease("ptosis", "Ptosis"),
        _of_disease("scc", "SCC"),
        _of_disease("strabismus", "Strab"),
        _of_disease("tao", "TAO"),
        _of_disease("uveitis", "Uveitis"),
    ),
    "table6": (
        _lower("rate", "rank 1 by another photo, %", "rank_1", 100, (2, 1), setting=_track("open-set"), claimed=True),
        _lower("", "rank 1 by the very photo, %", "identification", 100, (2, 1)),
        _lower("", "verified, %", "verification", 100, (2, 1)),
        _lower("", "accuracy in LFW's pairs, %", "lfw_accuracy", 100, (2, 1), setting=_track("verification")),
    ),
    "table7": (
        _lower("landmarks", "landmarks, px", "landmark_error", 1, (2, 2), setting=_track("landmarks")),
        _lower("eye", "eyes", "landmark_error.eyes", 1, (2, 2), setting=_track("landmarks"), claimed=True),
        _lower("mouth", "mouth", "landmark_error.mouth", 1, (2, 2), setting=_track("landmarks")),
        _lower("nose", "nose", "landmark_error.nose", 1, (2, 2), setting=_track("landmarks")),
        _lower("", "where a face is seen", "landmark_error.seen", 1, (2, 2), setting=_track("landmarks")),
        _lower("pitch", "pitch, °", "gaze_error.pitch", 1, (2, 2), setting=_track("gaze"), claimed=True),
        _lower("yaw", "yaw, °", "gaze_error.yaw", 1, (2, 2), setting=_track("gaze")),
    ),
    "table8": (
        _lower("id_dis", "ID-Dis", "recovered_identity_distance", setting=_track("recovery"), claimed=True),
        Column("psnr", "PSNR, dB", "recovered_psnr", 1, (2, 2), setting=_track("recovery"), claimed=True),
        _lower(
            "lpips",
            "LPIPS",
            "recovered_lpips.alex",
            setting=f"{_track('recovery')} and benchmark.quality: {{perceptual: [alex]}}",
            claimed=True,
        ),
        _lower("", "in a phantom network", "recovered_perceptual.phantom-judge", setting=_track("recovery")),
        Column("med_class", "top-1, %", "recovered_top1", 100, (2, 1), setting=_track("recovery"), claimed=True),
        Column("", "matched, %", "recovered_match", 100, (2, 1), setting=_track("recovery")),
    ),
}
"""Table 5 has a column for each recogniser: ``columns_of``."""

NAMES = ("table3", "table5", "table6", "table7", "table8")


def columns_of(name: str, recognisers: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of a table; ``recognisers`` are those that our methods are measured by."""
    return TABLES[name] if name in TABLES else _by_recogniser(recognisers)


def _by_recogniser(recognisers: Sequence[str]) -> tuple[Column, ...]:
    """Return Table 5's: the paper's recognisers and ours, a phantom one standing where its photographic twin would."""
    published = paper().tables["table5"].columns
    ours = {name: name.removeprefix("phantom-") for name in recognisers}
    absent = [name for name in published if name not in ours.values()]
    columns = []
    for name, key in {**{name: name for name in absent}, **ours}.items():
        columns.append(
            Column(
                key if key in published else "",
                name,
                f"identity_distance.{name}",
                setting=f"benchmark.recognisers: [{name}]",
                claimed=key in published,
                behind=("RiDDLE",) if key.startswith("facenet") else (),
            )
        )
    return tuple(columns)


def counterpart_of(method: str) -> Counterpart | None:
    """Return what ``method`` is the counterpart of; None for a method that the paper has not."""
    return next((one for one in COUNTERPARTS if one.covers(method)), None)
