"""Pull: annotators' answers become ``annotations.csv`` and masks, everyone's apart.

First every project's export is fetched to ``exports/``, whole or not at all, and never thrown away; then the folder of
answers is made anew from all of them and put in the place of the last. So a pull that was killed costs nothing, and the
answers of a project that is deleted later stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from curation.labelstudio.access import Access, accounts, connect, explained, find_access
from curation.labelstudio.answers import Problem, answers_of, read_answer
from curation.labelstudio.config import LabelStudioConfig
from curation.labelstudio.rounds import Round, Shown, load_rounds
from curation.labelstudio.server import home
from mema.annotations import REPEATS, Annotation, Progress, write_annotations, write_mask, write_progress
from mema.build import Build
from mema.errors import UserError
from mema.files import empty_beside, read_json, replace_folder, write_json
from mema.taxonomy import Taxonomy, load_taxonomy

EXPORTS = "exports"
ACCOUNTS = "accounts.json"
NOTES_FILE = "notes.json"
MAX_EXPORT_BYTES = 8 * 2**30


class Pulled(NamedTuple):
    """How far annotators are, ``(round, annotator) -> (answered, asked)``, one line per problem, and one per project
    that was deleted on the server before anything of it was pulled."""

    progress: dict[tuple[int, str], tuple[int, int]]
    problems: list[str]
    missing: tuple[str, ...] = ()


def pull(build: Build, *, say: Callable[[str], Any] = print) -> Pulled:
    """Fetch all answers and write ``Build.answers``; UserError when the server cannot be asked.

    An answer that cannot be read is left out and named. Answers of a round that settles disputes count when everyone
    who was asked has given theirs.
    """
    config = build.section("label_studio", LabelStudioConfig)
    rounds = load_rounds(build.label_studio)
    if not rounds:
        raise UserError(f"{build.label_studio} holds no round: run `mema annotate push` first")
    access = find_access(home())
    client = connect(access)
    with explained(access):
        users = accounts(client)
    # Of all accounts only the annotators', under their pseudonyms: the others are nobody's business here.
    names = {name for plan in rounds for name in plan.annotators}
    write_json(build.label_studio / ACCOUNTS, {name: users.get(config.email(name)) for name in sorted(names)})
    missing: list[str] = []
    for plan in rounds:
        for annotator, project in plan.projects.items():
            path = export_path(build, plan, annotator, project)
            lost = _fetch(client, access, project, path)
            if lost and not path.exists():
                missing.append(f"round {plan.number}, {annotator}: {lost}")
            elif lost:
                say(f"round {plan.number}, {annotator}: {lost}")
    return assemble(build, rounds, say=say)._replace(missing=tuple(missing))


def export_path(build: Build, plan: Round, annotator: str, project: int) -> Path:
    """Return where the export of a project is kept."""
    return build.label_studio / EXPORTS / f"round-{plan.number}" / annotator / f"project-{project}.json"


def assemble(build: Build, rounds: list[Round], *, say: Callable[[str], Any] = print) -> Pulled:
    """Make ``Build.answers`` from the exports that were fetched; the same exports give the same bytes."""
    taxonomy = load_taxonomy(build.clinic)
    users = read_json(build.label_studio / ACCOUNTS)
    staging = empty_beside(build.answers)
    first: list[Annotation] = []
    again: list[Annotation] = []
    notes: dict[tuple[int, str, Shown], str] = {}
    problems: list[str] = []
    progress: dict[tuple[int, str], tuple[int, int]] = {}
    for plan in rounds:
        given: list[tuple[Shown, Annotation]] = []
        for annotator in plan.annotators:
            queue = plan.queue(annotator)
            answered: dict[Shown, Annotation] = {}
            for path in _exports(build, plan, annotator):
                reader = _Reader(plan, annotator, queue, users.get(annotator), taxonomy, path, problems)
                for shown, answer in reader.answers():
                    folder = staging / REPEATS if shown.again else staging
                    annotation = answer.annotation
                    if answer.mask is not None:
                        annotation = write_mask(folder, annotation, answer.mask)
                    answered[shown] = annotation
                    notes[plan.number, annotator, shown] = answer.notes
            progress[plan.number, annotator] = len(answered), len(queue)
            given += [(shown, answered[shown]) for shown in queue if shown in answered]
        counts = dict.fromkeys(plan.images, 0)
        for shown, _ in given:
            counts[shown.image_id] += not shown.again
        for shown, annotation in given:
            if plan.number and counts[shown.image_id] < plan.per_image:
                continue
            (again if shown.again else first).append(annotation)
    order = {image_id: place for place, image_id in enumerate(rounds[0].images)}
    for folder, table in ((staging, first), (staging / REPEATS, again)):
        table.sort(key=lambda one: (order.get(one.image_id, len(order)), one.round, one.annotator))
        write_annotations(folder, table, candidates=rounds[0].candidates)
    remarks = [
        {"round": number, "annotator": annotator, **shown._asdict(), "notes": text}
        for (number, annotator, shown), text in notes.items()
        if text
    ]
    # Free text may name somebody, and answers are versioned and pushed.
    write_json(build.label_studio / NOTES_FILE, remarks)
    write_progress(
        staging,
        [
            Progress(round=number, annotator=annotator, answered=answered, asked=asked)
            for (number, annotator), (answered, asked) in progress.items()
        ],
    )
    replace_folder(staging, build.answers)
    for line in problems:
        say(line)
    return Pulled(progress, problems)


class _Reader:
    """Reads one export of one annotator's project."""

    def __init__(
        self,
        plan: Round,
        annotator: str,
        queue: list[Shown],
        user: int | None,
        taxonomy: Taxonomy,
        path: Path,
        problems: list[str],
    ) -> None:
        self.plan = plan
        self.annotator = annotator
        self.shown = {plan.key(shown): shown for shown in queue}
        self.user = user
        self.taxonomy = taxonomy
        self.path = path
        self.problems = problems

    def answers(self) -> Iterator[tuple[Shown, Any]]:
        """Yield each task's last readable answer by the project's annotator; what else is there is a problem."""
        for task in self._tasks():
            where = f"round {self.plan.number}, {self.annotator}, task {_number(task)}"
            try:
                given = answers_of(task)
                shown = self._shown(task)
            except Problem as problem:
                self.problems.append(f"{where}: {problem}")
                continue
            last = None
            for one in given:
                try:
                    if one.get("completed_by") != self.user:
                        raise Problem("answered by another account")
                    answer = read_answer(one, shown.image_id, self.annotator, self.plan, self.taxonomy)
                except Problem as problem:
                    self.problems.append(f"{where}, annotation {one['id']}: {problem}")
                    continue
                last = answer
            if last:
                if last.remark:
                    self.problems.append(f"{where}: {last.remark}")
                yield shown, last

    def _tasks(self) -> Iterator[Any]:
        import ijson

        try:
            with self.path.open("rb") as file:
                yield from ijson.items(file, "item", use_float=True)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path}: not JSON ({error})") from None

    def _shown(self, task: dict[str, Any]) -> Shown:
        data = task.get("data")
        key = data.get("key") if isinstance(data, dict) else None
        if not isinstance(key, str) or key not in self.shown:
            raise Problem("not a task that was pushed")
        return self.shown[key]


def _fetch(client: httpx.Client, access: Access, project: int, path: Path) -> str:
    """Fetch a project's answers to ``path``; returns a line when the server has less than was fetched before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        there = _download(client, access, project, part)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if not there:
        kept = "what was pulled before is kept"
        if not path.exists():
            kept = "nothing of it was ever pulled: `mema annotate push --recreate` pushes its tasks again"
        return f"project {project} was deleted on {access.url}; {kept}"
    lost = ""
    if path.exists():
        before, now = _answered(path), _answered(part)
        if now < before:
            kept_as = _unused(path)
            path.replace(kept_as)
            lost = f"{before - now} tasks lost their answer on the server; what was pulled before is kept: {kept_as}"
    part.replace(path)
    return lost


def _download(client: httpx.Client, access: Access, project: int, part: Path) -> bool:
    """Write a project's export to ``part``; returns whether the project is there."""
    url = f"/api/projects/{project}/export"
    parameters = {"exportType": "JSON", "download_all_tasks": "false"}
    # The server answers when it has written the whole export, which takes minutes for a large project.
    patience = httpx.Timeout(30, read=3600)
    with explained(access), client.stream("GET", url, params=parameters, timeout=patience) as answer:
        if answer.status_code == 404:
            return False
        answer.raise_for_status()
        with part.open("wb") as file:
            for chunk in answer.iter_bytes():
                if file.tell() + len(chunk) > MAX_EXPORT_BYTES:
                    raise UserError(f"{access.url}: the export of project {project} exceeds {MAX_EXPORT_BYTES} bytes")
                file.write(chunk)
    return True


def _answered(path: Path) -> int:
    import ijson

    try:
        with path.open("rb") as file:
            return sum(1 for _ in ijson.items(file, "item.id"))
    except ijson.JSONError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def _unused(path: Path) -> Path:
    number = 1
    while (other := path.with_name(f"{path.stem}.before-{number}.json")).exists():
        number += 1
    return other


def _exports(build: Build, plan: Round, annotator: str) -> list[Path]:
    """The exports that count, oldest project first: a later one of the same annotator overrides an earlier one."""
    folder = build.label_studio / EXPORTS / f"round-{plan.number}" / annotator
    numbered = {int(path.stem.removeprefix("project-")): path for path in folder.glob("project-*.json")
                if path.stem.removeprefix("project-").isdecimal()}  # fmt: skip
    return [numbered[number] for number in sorted(numbered)]


def _number(task: Any) -> str:
    number = task.get("id") if isinstance(task, dict) else None
    return str(number) if type(number) is int else "without a number"
