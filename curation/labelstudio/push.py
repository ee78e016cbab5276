"""Push: an image set becomes a project per annotator.

The community edition of Label Studio assigns no tasks, so everyone gets a project of their own, in which only their
images lie, in their own order. What is on the server is asked, not remembered: pushing twice doubles nothing, and a
push that was killed goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, UnidentifiedImageError

from curation.filter import KEPT
from curation.labelstudio.access import Access, connect, ensure_accounts, explained, find_access
from curation.labelstudio.config import IMAGE, INSTRUCTIONS, MASK, SMART, TUMOR, LabelStudioConfig, labelling_xml
from curation.labelstudio.rle import encode
from curation.labelstudio.rounds import Round, Shown, load_rounds
from curation.labelstudio.server import home
from curation.segmenting.attachment import attach
from mema.annotations import Annotation, disputes, read_annotations
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write
from mema.imageset import ImageSet, encode_png
from mema.taxonomy import Taxonomy, load_taxonomy

TASKS_PER_REQUEST = 200
FILES_PER_REQUEST = 50
PAGE = 1000


def push(
    build: Build,
    *,
    masks: Path | None = None,
    settle: bool = False,
    recreate: bool = False,
    say: Callable[[str], Any] = print,
) -> Round:
    """Push what the filter kept, or with ``settle`` the disputes among what was pulled; returns the round.

    ``masks`` is a folder of ``<image_id>.png``, shown as a first proposal of the tumour: they must come from the image
    alone, or they tell the annotator which disease was asked for. ``recreate`` pushes projects again that were deleted
    on the server. UserError when the round was pushed with another plan, and for all that a server can do.
    """
    config = build.section("label_studio", LabelStudioConfig)
    taxonomy = load_taxonomy(build.clinic)
    kept = ImageSet.open(build.filtered / KEPT)
    plan = _settling_round(build, config, kept, taxonomy) if settle else _first_round(build, config, kept)
    access = find_access(home())
    client = connect(access)
    ensure_accounts(access, client, map(config.email, plan.annotators), home())
    plan = _check_server(plan, access)
    plan.save(build.label_studio)
    folder = (access.files or build.label_studio / "files") / plan.batch
    queues = {name: plan.queue(name) for name in plan.annotators}
    _stage_images(kept, plan, {shown for queue in queues.values() for shown in queue}, folder)
    for name, queue in queues.items():
        with explained(access):
            project = _project(client, plan, name, build, config, taxonomy, recreate)
            plan = plan.model_copy(update={"projects": {**plan.projects, name: project}})
            plan.save(build.label_studio)
            if access.files:
                _serve_folder(client, project, folder)
            present = _present(client, project)
            missing = [shown for shown in queue if plan.key(shown) not in present]
            for batch in _batches(missing, TASKS_PER_REQUEST, f"push {name}"):
                keys = [plan.key(shown) for shown in batch]
                urls = _local_urls(keys, plan) if access.files else _upload(client, project, keys, folder)
                tasks = [
                    {"data": {"image": url, "key": key}, "predictions": _prediction(masks, shown.image_id, plan)}
                    for shown, key, url in zip(batch, keys, urls, strict=True)
                ]
                client.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()
            if config.smart:
                # After the tasks: a project without predictions would take the model's in the place of proposals.
                attach(client, project, home(), say)
        say(f"{name}: {len(queue)} tasks, {len(missing)} of them new: {access.url}/projects/{project}")
    return plan


def title(build: Build, number: int, annotator: str) -> str:
    """Return the title by which a project is found again."""
    return f"{build.name}, {'round ' + str(number) if number == 0 else 'disputes ' + str(number)}: {annotator}"


def _first_round(build: Build, config: LabelStudioConfig, kept: ImageSet) -> Round:
    images = tuple(record.image_id for record in kept.records())
    new = _plan(0, config, kept, images, config.annotators, config.per_image or len(config.annotators))
    rounds = load_rounds(build.label_studio)
    if not rounds:
        return new
    if not rounds[0].same_plan(new):
        different = next(key for key in Round.model_fields if getattr(rounds[0], key) != getattr(new, key))
        raise UserError(
            f"{build.label_studio / 'round-0.json'}: pushed before with other {different}: put them back, or move"
            f" {build.label_studio} away to begin anew"
        )
    return rounds[0]


def _settling_round(build: Build, config: LabelStudioConfig, kept: ImageSet, taxonomy: Taxonomy) -> Round:
    rounds = load_rounds(build.label_studio)
    if not rounds:
        raise UserError(f"{build.label_studio} holds no round: run `mema annotate push` first")
    given = read_annotations(build.answers, taxonomy, candidates=rounds[0].candidates, command="mema annotate pull")
    last = rounds[-1]
    pending = set(_unanswered(last, given)) if last.number else set()
    present = {record.image_id for record in kept.records()}
    open_ = [image_id for image_id in disputes(given) if image_id in present and image_id not in pending]
    if not open_:
        if pending:
            return last
        raise UserError(f"{build.answers}: the annotators are divided on no image")
    people = config.adjudicators or config.annotators
    return _plan(last.number + 1, config, kept, tuple(open_), people, len(people), repeated=0.0)


def _unanswered(plan: Round, given: Iterable[Annotation]) -> Iterator[str]:
    answered = {(one.image_id, one.annotator) for one in given if one.round == plan.number}
    for name in plan.annotators:
        yield from (image_id for image_id, _ in plan.queue(name) if (image_id, name) not in answered)


def _plan(
    number: int,
    config: LabelStudioConfig,
    kept: ImageSet,
    images: tuple[str, ...],
    annotators: tuple[str, ...],
    per_image: int,
    repeated: float | None = None,
) -> Round:
    if not images:
        raise UserError(f"image set {kept.path} is empty: there is nothing to annotate")
    height, width = next(kept.faces()).image.shape[:2]
    return Round(
        number=number,
        candidates=kept.config["candidates"],
        images=images,
        height=height,
        width=width,
        annotators=annotators,
        per_image=per_image,
        repeated=config.repeated if repeated is None else repeated,
        seed=config.seed,
    )


def _check_server(plan: Round, access: Access) -> Round:
    # The port of an own server may change; its projects are then the same.
    if plan.projects and plan.url != access.url and not access.files:
        raise UserError(f"round {plan.number} was pushed to {plan.url}, this is {access.url}")
    return plan.model_copy(update={"url": access.url})


def _stage_images(kept: ImageSet, plan: Round, shown: set[Shown], folder: Path) -> None:
    """Write every image under the name that its annotators see; nothing but pixels is in the files."""
    from tqdm import tqdm

    for face in tqdm(kept.faces(), total=kept.count, desc="images", unit="image", disable=None):
        for one in (Shown(face.record.image_id, False), Shown(face.record.image_id, True)):
            path = folder / f"{plan.key(one)}.png"
            if one not in shown or path.exists():
                continue
            if face.image.shape[:2] != (plan.height, plan.width):
                raise UserError(f"image set {kept.path}: {face.record.image_id} is not {plan.width} x {plan.height}")
            atomic_write(path, encode_png(face.image))


def _project(
    client: httpx.Client,
    plan: Round,
    annotator: str,
    build: Build,
    config: LabelStudioConfig,
    taxonomy: Taxonomy,
    recreate: bool,
) -> int:
    """Return the annotator's project, made when it is not there yet."""
    known = plan.projects.get(annotator)
    if known is not None:
        answer = client.get(f"/api/projects/{known}/")
        if answer.is_success:
            return known
        if answer.status_code != 404:
            answer.raise_for_status()
        if not recreate:
            raise UserError(
                f"project {known} of {annotator} was deleted on {plan.url}: what was pulled is kept;"
                " `mema annotate push --recreate` pushes its tasks again"
            )
    name = title(build, plan.number, annotator)
    # A push that was killed before it wrote the number down has made the project all the same.
    marker = f"{name} [{plan.batch}]"
    for page in _pages(client, "/api/projects/", {"title": name}):
        for project in page["results"]:
            if project["description"] == marker and project["id"] not in plan.projects.values():
                return int(project["id"])
    values = {
        "title": name,
        "description": marker,
        "label_config": labelling_xml(taxonomy, smart=config.smart),
        "expert_instruction": INSTRUCTIONS + (SMART if config.smart else ""),
        "show_instruction": True,
        "maximum_annotations": 1,
        "show_collab_predictions": True,
        "sampling": "Sequential sampling",
        "show_skip_button": False,
    }
    return int(client.post("/api/projects/", json=values).raise_for_status().json()["id"])


def _pages(client: httpx.Client, path: str, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a list's pages; the server answers 404 after the last."""
    page = 1
    while (answer := client.get(path, params={**parameters, "page": page, "page_size": PAGE})).status_code != 404:
        yield answer.raise_for_status().json()
        page += 1


def _present(client: httpx.Client, project: int) -> set[str]:
    """Return the keys of the tasks that a project has."""
    pages = _pages(client, "/api/tasks/", {"project": project})
    return {str(task["data"].get("key")) for page in pages for task in page["tasks"]}


def _serve_folder(client: httpx.Client, project: int, folder: Path) -> None:
    storages = client.get("/api/storages/localfiles/", params={"project": project}).raise_for_status().json()
    if not any(storage["path"].rstrip("/") == str(folder) for storage in storages):
        values = {"project": project, "path": str(folder), "use_blob_urls": True, "regex_filter": r".*\.png$"}
        client.post("/api/storages/localfiles/", json=values).raise_for_status()


def _local_urls(keys: list[str], plan: Round) -> list[str]:
    return [f"/data/local-files/?d={plan.batch}/{key}.png" for key in keys]


def _upload(client: httpx.Client, project: int, keys: list[str], folder: Path) -> list[str]:
    """Upload images to a project and return the addresses under which the server shows them."""
    urls: dict[str, str] = {}
    for start in range(0, len(keys), FILES_PER_REQUEST):
        part = keys[start : start + FILES_PER_REQUEST]
        files = [(key, (f"{key}.png", (folder / f"{key}.png").read_bytes(), "image/png")) for key in part]
        answer = client.post(f"/api/projects/{project}/import", params={"commit_to_project": "false"}, files=files)
        ids = answer.raise_for_status().json()["file_upload_ids"]
        made = client.get(f"/api/projects/{project}/file-uploads", params={"ids": json.dumps(ids)}).raise_for_status()
        # The server puts a prefix of its own before the name.
        urls |= {Path(one["file"]).stem.rsplit("-", 1)[-1]: f"/data/{one['file']}" for one in made.json()}
    return [urls[key] for key in keys]


def _prediction(masks: Path | None, image_id: str, plan: Round) -> list[dict[str, Any]]:
    """Return the proposed outline of an image as Label Studio takes it; nothing where there is none."""
    path = masks / f"{image_id}.png" if masks else None
    if path is None or not path.is_file():
        return []
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (plan.width, plan.height):
                raise UserError(f"{path}: the mask is not {plan.width} x {plan.height}")
            mask = np.asarray(image.convert("L")) > 127
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise UserError(f"{path}: not a PNG image") from None
    return [{"model_version": "proposal", "result": [mask_region(mask)]}] if mask.any() else []


def mask_region(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask, bool (H, W), as a region of the labelling configuration's brush."""
    height, width = mask.shape
    return {
        "type": "brushlabels",
        "from_name": MASK,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode(mask), "brushlabels": [TUMOR]},
    }


def _batches(items: list[Shown], size: int, label: str) -> Iterator[list[Shown]]:
    from tqdm import tqdm

    with tqdm(total=len(items), desc=label, unit="task", disable=None) as bar:
        for start in range(0, len(items), size):
            yield items[start : start + size]
            bar.update(len(items[start : start + size]))
