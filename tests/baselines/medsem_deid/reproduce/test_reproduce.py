"""Experiments on MedSem-DeID: what differs between variants, what is trained once, and what the tables may say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from baselines.medsem_deid import training
from baselines.medsem_deid.reproduce.scores import ID_DIS, RECOVERED, TOP1
from baselines.medsem_deid.reproduce.settings import Experiments, Variant, load_experiments, parameters_of
from baselines.medsem_deid.reproduce.tables import Row, Sheet, contrast, estimate, slope_weights, table9
from baselines.medsem_deid.reproduce.text import text
from baselines.medsem_deid.reproduce.variants import folder_of
from baselines.registry import load_method_config, make_method
from mema.build import Build
from mema.cli import cli
from mema.errors import UserError
from mema.files import read_json
from mema.imageset import ImageSet, write_imageset
from mema.paper import paper
from mema.release import SPLITS, Release

CONFIGS = Path(__file__).parents[4] / "configs"
FILES = sorted((CONFIGS / "reproduce").glob("*.yaml"))


@pytest.fixture
def build(people: ImageSet, tmp_path: Path) -> Build:
    """A build whose release and donors are all the same three people."""
    faces = list(people.faces())
    for folder in (*(tmp_path / "runs" / "release" / split for split in SPLITS), tmp_path / "runs" / "donors"):
        write_imageset(folder, len(faces), lambda start, stop: faces[start:stop], config={"test": folder.name})
    Release.seal(
        tmp_path / "runs" / "release",
        name="tiny",
        version="1.0.0",
        clinic="eye_clinic",
        phantom=True,
        machine_annotated=True,
        annotators=("nobody",),
    )
    paths = {"private": str(tmp_path / "private"), "runs": str(tmp_path / "runs")}
    config = {"name": "tiny", "clinic": "eye_clinic", "size": 32, "paths": paths}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    return Build.load(tmp_path / "build.yaml")


@pytest.fixture
def experiments(parameters, change, tmp_path: Path) -> Callable[..., Path]:
    """Write a file of experiments about the tiny method, two iterations a variant."""

    def write(**values: object) -> Path:
        (tmp_path / "methods").mkdir(exist_ok=True)
        method = {"method": "medsem-deid", "parameters": parameters.model_dump(mode="json")}
        (tmp_path / "methods" / "tiny.yaml").write_text(yaml.safe_dump(method))
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        decoder = {f"decoder_{name}": size for name, size in sizes.items()}
        for kind, model_type in (("vit", "vit"), ("mae", "vit_mae")):
            (tmp_path / kind).mkdir(exist_ok=True)
            config = {"model_type": model_type, "image_size": 32, "patch_size": 8, **sizes, **decoder}
            (tmp_path / kind / "config.json").write_text(json.dumps(config))
        given = yaml.safe_load((CONFIGS / "reproduce" / "medsem-deid-phantom.yaml").read_text())
        given |= {"method": "methods/tiny.yaml", "iterations": 2, "recognisers": ["phantom-sphereface"]}
        for variant in given["table10"].values():
            if variant:
                variant["changes"]["encoder"]["blocks"] = 1
                variant["changes"]["encoder_training"] = {"steps": 1, "batch": 2}
        (tmp_path / "experiments.yaml").write_text(yaml.safe_dump(given | values, sort_keys=False))
        return tmp_path / "experiments.yaml"

    return write


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_variants_of_the_files_are_the_papers(file):
    experiments = load_experiments(file)
    assert list(experiments.table9) == list(paper().tables["table9"].rows)
    assert list(experiments.table10) == list(paper().tables["table10"].rows)
    made = {name: parameters_of(experiments, variant, 3) for name, variant in experiments.table9.items()}
    assert {(one.schedule.steps, one.schedule.seed) for one in made.values()} == {(experiments.iterations, 3)}
    assert {name: (one.schedule.data, one.network.medical, one.loss.medical > 0) for name, one in made.items()} == {
        "M1": ("donors", False, False),
        "M2": ("release", False, False),
        "M3": ("release", True, False),
        "M4": ("release", False, True),
        "Ours": ("release", True, True),
    }
    kinds = [parameters_of(experiments, one, 0).encoder.kind for one in experiments.table10.values()]
    assert kinds == ["vit", "mae", "diffusion"]
    method = make_method(load_method_config(experiments.method))
    assert method.parameters.loss.medical in experiments.fig8_medical
    assert method.parameters.loss.recover in experiments.fig8_recover
    assert all(one.encoder_init is None or one.encoder_init.is_dir() for one in experiments.table10.values())


def test_an_equal_variant_is_kept_once_however_long_it_trains(build, experiments):
    given = load_experiments(experiments())
    longer = given.model_copy(update={"iterations": 9})

    def folder(variant: Variant, seed: int = 0, settings: Experiments = given) -> Path:
        return folder_of(build, variant, parameters_of(settings, variant, seed))

    ours = folder(Variant())
    assert folder(Variant(changes={"loss": {"medical": 5}})) == ours == folder(Variant(), settings=longer)
    others = [folder(Variant(changes={"loss": {"medical": 4}})), folder(Variant(), 1), folder(given.table9["M1"])]
    assert len({ours, *others}) == 4
    plain = parameters_of(given, Variant(), 0)
    assert folder_of(build, Variant(), plain.model_copy(update={"detail": True})) == ours, "it changes no training"


def test_a_key_that_does_not_exist_is_named(experiments):
    def fails(message: str, **values: object) -> None:
        with pytest.raises(UserError, match=message):
            given = load_experiments(experiments(**values))
            parameters_of(given, given.table9["M1"], 0)

    fails("unknown key 'table11'; did you mean 'table10'", table11={})
    fails("unknown key 'loss.medicl'; did you mean 'medical'", table9={"M1": {"changes": {"loss": {"medicl": 0}}}})
    fails("unknown key 'los'; did you mean 'loss'", table9={"M1": {"changes": {"los": {"medical": 0}}}})
    fails("fig8_medical", fig8_medical=[0, 1])


def test_the_slope_of_a_sweep_is_per_tenfold():
    weights = slope_weights([0.5, 5, 50])
    assert weights @ np.array([1.0, 3.0, 5.0]) == pytest.approx(2)
    assert weights @ np.array([7.0, 7.0, 7.0]) == pytest.approx(0)


def test_certainty_is_not_read_from_a_few_people():
    subjects = [f"s{n}" for n in range(10)]
    assert estimate(np.ones(10), subjects, share=True).low == pytest.approx(0.7225, abs=1e-3)
    half = estimate(np.arange(10) % 2.0, subjects, share=True)
    assert half.low < 0.3 and half.high > 0.7


def known_sheet(parameters, build) -> Sheet:
    """M3 reads 4 of 10 diseases, Ours 7 of 10."""
    subjects = [f"s{n}" for n in range(60)]
    rows = []
    for name, right in (("M3", 4), ("Ours", 7)):
        scores = {
            TOP1: (np.arange(60) % 10 < right).astype(float),
            f"{ID_DIS}.phantom-sphereface": np.full(60, 1.25),
            RECOVERED: np.full(60, 21.5),
        }
        rows.append(Row(name, parameters, 2, "somewhere", scores, None))
    return Sheet("table9", rows, [], {TOP1: np.ones(60)}, subjects, Release.open(build.release))


def test_a_contrast_tells_an_effect_from_none_and_from_its_opposite(parameters, build):
    sheet = known_sheet(parameters, build)
    said = [contrast("", sheet, TOP1, np.array(weights), 100, 1) for weights in ((-1, 1), (1, -1))]
    assert [claim.verdict for claim in said] == ["yes", "opposite"]
    assert said[0].effect.value == pytest.approx(0.3)
    assert contrast("", sheet, RECOVERED, np.array([-1, 1]), 1, 2).verdict == "not shown here"


def test_the_text_has_the_papers_numbers_beside_ours(parameters, change, build, experiments):
    sheet = known_sheet(parameters, build)
    without = change(parameters, loss={"medical": 0})
    sheet = sheet._replace(rows=[sheet.rows[0]._replace(parameters=without), sheet.rows[1]])
    lines = text([sheet], load_experiments(experiments())).splitlines()
    head = next(line for line in lines if "top-1, % (paper)" in line)
    assert "L_med" in head and "L_rev" not in head and "photos" not in head, "what all rows share is left out"
    third = next(line for line in lines if line.startswith("M3"))
    assert "69.94" in third and "1.3602" in third and "1.250" in third and "21.50" in third
    assert any("1.3689" in line for line in lines), "where the paper contradicts itself, the table says so"
    assert any("rendered people" in line for line in lines)


def test_variants_are_trained_measured_and_kept(build, experiments, monkeypatch):
    begun = []
    draw = training.draw_batch
    monkeypatch.setattr(training, "draw_batch", lambda *given: begun.append(given[1]) or draw(*given))
    given = load_experiments(experiments())
    given = given.model_copy(update={"table9": {name: given.table9[name] for name in ("M2", "Ours")}})
    (sheet,) = table9(build, given)
    assert [row.name for row in sheet.rows] == ["M2", "Ours"] and begun
    assert all(
        column.shape == (6,) and np.isfinite(column).all() for row in sheet.rows for column in row.scores.values()
    )
    verdicts = {claim.text: claim.verdict for claim in sheet.claims}
    assert list(verdicts.values()).count("not measured") == 5, "each of them needs M1, M3 or M4"
    begun.clear()
    (again,) = table9(build, given)
    assert not begun, "what is there is not trained again"
    for one, other in zip(sheet.rows, again.rows, strict=True):
        assert all(np.array_equal(column, other.scores[name]) for name, column in one.scores.items())
    table9(build, given.model_copy(update={"iterations": 3, "table9": {"M2": given.table9["M2"]}}))
    assert [step for step in begun if step] == [2], "more iterations go on"
    (file,) = Path(sheet.rows[1].folder).glob("medsem-deid-*.yaml")
    method = make_method(load_method_config(file))
    images = ImageSet.open(build.release / "validation").images()[:1]
    assert method.deidentify(images, keys=["a"], seed=0).shape == images.shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table9", "table10", "fig8"])
def test_the_commands_run_on_all_variants(build, experiments, name):
    path = experiments(seeds=[0, 1] if name == "table9" else [0])
    arguments = ["--config", str(build.config_path), "--experiments", str(path), "--iterations", "1"]
    shown = CliRunner().invoke(cli, ["reproduce", name, *arguments], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    made = read_json(build.reproduce / f"{name}.json")
    rows = {sheet: set(found["ours"]) for sheet, found in made["sheets"].items()}
    if name == "fig8":
        assert rows == {"fig8-medical": {"0.05", "0.5", "5"}, "fig8-recover": {"1", "10", "100"}}
        shared = [sheet["ours"][key]["folder"] for sheet, key in zip(made["sheets"].values(), ("5", "10"), strict=True)]
        assert shared[0] == shared[1], "the method as it is stands in both sweeps"
    else:
        assert rows == {name: set(paper().tables[name].rows)}
        assert all((one["spread"] is not None) == (name == "table9") for one in made["sheets"][name]["ours"].values())
    assert "86.70" in shown.output and "not measured" not in shown.output
