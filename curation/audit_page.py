"""The audit's report in plain words, ``audit.html``, for whoever must decide on privacy: one file, no request.

It is made of the public report alone, so it can say nothing that ``audit.json`` does not.
"""

from __future__ import annotations

from curation.card import TEMPLATES, percent
from curation.planted import COPY, HANDLED, NOBODY, OTHER_PHOTO
from curation.report import ANY, MAJORITY, AuditReport
from mema.groups import LEAST_PEOPLE
from mema.pages import content_policy, environment, style_of

PAGE = "audit.html"

PLANTS = {
    COPY: "a patient's own photo, unchanged",
    HANDLED: "the same photo, cropped, brightened and compressed",
    OTHER_PHOTO: "another photo of a patient",
    NOBODY: "strangers (nothing to find: these are false alarms)",
}
COMBINATIONS = {ANY: "at least one of them", MAJORITY: "more than half, the same person"}


def render_page(report: AuditReport) -> str:
    """Return the page; the same report gives the same text."""
    from markupsafe import Markup

    style = style_of(TEMPLATES / "audit.css")
    templates = environment(TEMPLATES, html=True)
    templates.filters.update(percent=unbroken_percent, one_in=one_in, fine=fine_percent)
    return templates.get_template("audit.html.j2").render(
        policy=content_policy(style),
        style=Markup(style),
        audit=report,
        fars=[point.far for point in report.points[report.recognisers[0]]],
        instruments=[*report.recognisers, *(name for name in COMBINATIONS if name in report.points)],
        combinations=COMBINATIONS,
        plants={one.planted: PLANTS.get(one.planted, _blend(one.planted)) for one in report.planted.strengths},
        split_votes=sum(report.flagged_by[1:-1]),
        not_tested=not_tested(report),
        least_patients=LEAST_PEOPLE,
    )


def not_tested(report: AuditReport) -> list[str]:
    """Return in whole sentences what the audit leaves open: first what this one lacks, then what any audit lacks."""
    open_ends = []
    if any(name.startswith("phantom-") for name in report.recognisers):
        open_ends.append(
            "Recognisers called phantom-… learnt from drawn faces. How well they tell real people apart was not "
            "tested; for photos of real patients, recognisers trained on real faces are needed."
        )
    open_ends.append(
        "Only the recognisers named above were used. Others, for which no weights were available or which others "
        "have, may recognise somebody whom these do not; nor was any person asked to compare faces."
    )
    if not report.sizes.controls.subjects:
        open_ends.append(
            "There were no controls (patients whom the generator never saw), so it is not known how many of the "
            "hits are chance."
        )
    if not report.sizes.donors_used.subjects:
        open_ends.append("No candidate names a donor, so likeness to donors was not measured.")
    elif not report.sizes.donors_unused.subjects:
        open_ends.append("Every donor was used, so there are no unused donors to compare with.")
    open_ends += _unresolved(report)
    open_ends += _groups(report)
    missed = {name: share for name, share in report.faces_found.items() if share < 1}
    if missed:
        shares = ", ".join(f"{name} {percent(1 - share)}" for name, share in missed.items())
        open_ends.append(
            f"In some candidates no face was seen ({shares}). They are counted, but their likeness means little."
        )
    if report.repeats is None:
        open_ends.append("Near-duplicates among the candidates were not counted.")
    return [
        *open_ends,
        f"Leaks were planted for {report.planted.members} patients and only in the ways listed above. A leak of "
        "another kind, or fainter than the detection limit, may go unseen.",
        "Attackers who train on the release, or who have the generator itself, were not tested: whether somebody's "
        "photos were used for training (membership) and what can be drawn from the generator's weights stays open.",
        "Attackers who know something else of a patient were not tested: a rare disease, a scar or tattoo, an age, a "
        "date, or the clinic.",
        "The figures are of the candidates, before any was left out, not of the released images. The intervals do not "
        "cover that other patients might have given other figures.",
    ]


def one_in(far: float) -> str:
    """Return a rate as people say it: ``1 in 10,000``."""
    return f"1 in {round(1 / far):,}"


def unbroken_percent(value: float) -> str:
    """Return a share in per cent with one decimal, which no line break separates from its sign."""
    return percent(value).replace(" ", "\N{NO-BREAK SPACE}")


def fine_percent(value: float) -> str:
    """Return a small share in per cent, with three significant digits."""
    return f"{100 * value:.3g} %"


def _unresolved(report: AuditReport) -> list[str]:
    said = []
    for far in (point.far for point in report.points[report.recognisers[0]]):
        thresholds = {
            name: next(point.threshold for point in report.points[name] if point.far == far)
            for name in report.recognisers
        }
        names = [name for name, one in thresholds.items() if one is not None and not one.resolved]
        if names:
            said.append(
                f"A false-accept rate of {one_in(far)} is finer than this cohort can tell ({', '.join(names)}): the "
                "threshold is the distance of the nearest pair of different patients, and its true rate is not known."
            )
    return said


def _groups(report: AuditReport) -> list[str]:
    if not report.groups:
        return ["Groups by gender, skin tone or age were not compared: nothing is stated of them."]
    said = []
    missing = [name for name in ("gender", "skin tone", "age") if all(one.attribute != name for one in report.groups)]
    if missing:
        said.append(f"Groups by {', '.join(missing)} were not compared: nothing is stated of them.")
    small = list(dict.fromkeys(f"{one.attribute} {one.group}" for one in report.groups if one.patients is None))
    if small:
        said.append(f"Groups with fewer than {LEAST_PEOPLE} patients are too small to test: {', '.join(small)}.")
    few: dict[float, dict[str, None]] = {}
    for one in report.groups:
        if one.patients is not None and not one.resolved:
            few.setdefault(one.far, {})[f"{one.attribute} {one.group}"] = None
    said += [
        f"For groups with too few pairs of patients' photos no threshold of their own at a false-accept rate of "
        f"{one_in(far)} could be read: {', '.join(names)}."
        for far, names in few.items()
    ]
    return said


def _blend(name: str) -> str:
    word, _, share = name.partition(" ")
    try:
        return f"a blend: {float(share):.0%} of a patient's photo, the rest a stranger's" if word == "blend" else name
    except ValueError:
        return name
