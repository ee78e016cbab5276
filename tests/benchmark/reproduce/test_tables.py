"""The paper's tables beside hand-made results: what stands where, and what may be said of it."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.reproduce.columns import COUNTERPARTS, NAMES, columns_of, counterpart_of
from benchmark.reproduce.tables import difference, make_table, read_results
from benchmark.reproduce.text import text
from mema.cli import cli
from mema.errors import UserError
from mema.files import read_json
from mema.paper import paper

COUNT = 40
READ = np.arange(COUNT) < 30
"""Right in three of four, of every disease alike but for the last images."""


def made(name, build):
    measured = read_results(build)
    table = make_table(name, measured)
    return table, text(table, measured).splitlines()


def said(lines, start):
    return next(line for line in lines if line.startswith(start))


def test_ours_stand_under_the_papers(build, put):
    put("pixelate", disease_top1=0.25)
    put("latent_code_detail", reversible=True)
    put("medsem-deid-phantom", reversible=True, disease_top1=READ)
    table, lines = made("table3", build)
    assert list(table.cells) == ["pixelate", "latent_code_detail", "medsem-deid-phantom"]
    order = [line.strip().split("  ")[0] for line in lines]
    for above, below in (
        ("RiDDLE (paper)", "latent_code_detail (family of Personal and RiDDLE)"),
        ("MedSem-DeID (paper)", "medsem-deid-phantom"),
        ("not in the paper", "pixelate"),
    ):
        assert order.index(above) < order.index(below)
    assert "86.70" in said(lines, "MedSem-DeID (paper)") and "75.0 [" in said(lines, "  medsem-deid-phantom")
    absent = [line.split()[1:] for line in lines if line.startswith("  deepprivacy")]
    assert absent == [["–"] * 3, ["–"] * 8], "no counterpart ran"
    assert "rendered people" in "\n".join(lines)
    assert "Not measured: Dice, Jaccard; it takes benchmark.tracks: [segmentation] in the YAML." in lines
    assert "27.76" in "\n".join(lines), "where the paper contradicts itself, the table says so"


def test_a_disease_has_an_interval_of_its_own(build, put):
    put("medsem-deid", disease_top1=np.arange(COUNT) % 8 == 4)
    table, _ = made("table3", build)
    cells = dict(zip([column.key for column in table.columns], table.cells["medsem-deid"], strict=True))
    assert cells["scc"].value == 1 and 0.4 < cells["scc"].low < 0.7, "five of five is not certainty"
    assert cells["bcc"].value == 0 and cells["bcc"].high > 0.3


@pytest.mark.parametrize(
    ("rival", "verdict"), [(READ & (np.arange(COUNT) > 12), "yes"), (READ, "not shown here"), (1.0, "opposite")]
)
def test_ahead_is_said_only_where_the_interval_says_it(build, put, rival, verdict):
    put("medsem-deid", disease_top1=READ)
    put("blackout", disease_top1=1.0)
    put("eye_bar", disease_top1=0.0)
    put("pixelate", disease_top1=rival)
    table, lines = made("table3", build)
    claim = table.claims[0]
    assert (claim.text, claim.verdict) == ("medsem-deid ahead of every rival in top-1, %", verdict)
    assert claim.remark == "by pixelate", "the rival that makes it hardest; floors are not rivals"
    assert any(line.startswith(verdict) for line in lines)


def test_who_does_not_protect_is_no_rival_of_who_does(build, put):
    put("medsem-deid", disease_top1=READ, attack=np.arange(COUNT) < 8)
    put("pixelate_fine", disease_top1=1.0, attack=1.0)
    put("k_same", disease_top1=0.0, attack=np.arange(COUNT) < 9)
    claims = {claim.text: claim for claim in made("table3", build)[0].claims}
    assert claims["medsem-deid ahead of every rival in top-1, %"].verdict == "opposite"
    as_well = claims["medsem-deid ahead of every rival that protects as well in top-1, %"]
    assert (as_well.verdict, as_well.remark) == ("yes", "by k_same")


def test_images_without_a_score_are_left_out_in_pairs(build, put):
    gaps = np.where(np.arange(COUNT) < 10, np.nan, 0.25)
    ours, rival = put("medsem-deid", dice=np.where(np.arange(COUNT) < 20, np.nan, 0.75)), put("pixelate", dice=gaps)
    found = difference(ours, rival, "dice", read_results(build).config)
    assert found == (0.5, 0.5, 0.5)
    assert difference(ours, rival, "jaccard", read_results(build).config) is None
    claims = {claim.text: claim.verdict for claim in made("table3", build)[0].claims}
    assert claims["medsem-deid ahead of every rival in Dice"] == "yes"
    assert claims["medsem-deid ahead of every rival in Jaccard"] == "not measured"


def test_lower_is_better_where_it_is(build, put):
    put("medsem-deid", rank_1=0.0)
    put("latent_code", rank_1=0.5)
    assert made("table6", build)[0].claims[0].verdict == "yes"


def test_table_5_has_our_recognisers_beside_the_papers(build, put):
    both = {"identity_distance__dlib": 0.5}
    put("medsem-deid", **{"identity_distance__phantom-sphereface": 1.3}, **both)
    columns = columns_of("table5", ["dlib", "phantom-sphereface"])
    assert [(column.key, column.title) for column in columns] == [
        ("facenet-vggface2", "facenet-vggface2"),
        ("facenet-casia-webface", "facenet-casia-webface"),
        ("", "dlib"),
        ("sphereface", "phantom-sphereface"),
    ]
    assert [column.claimed for column in columns] == [True, True, False, True]
    _, lines = made("table5", build)
    assert said(lines, "MedSem-DeID (paper)").split()[-4:] == ["1.4007", "1.3609", "–", "1.3601"]
    assert "benchmark.recognisers: [facenet-vggface2]" in "\n".join(lines)
    photographic = columns_of("table5", ["facenet-vggface2", "facenet-casia-webface", "sphereface"])
    assert [column.metric for column in photographic] == [
        f"identity_distance.{name}" for name in ("facenet-vggface2", "facenet-casia-webface", "sphereface")
    ]


def test_riddle_may_be_ahead_where_the_paper_has_it_ahead(build, put):
    far = {"identity_distance__facenet-vggface2": 1.4}
    put("medsem-deid", **{"identity_distance__facenet-vggface2": 1.2})
    put("latent_code", **far)
    put("pixelate", **{"identity_distance__facenet-vggface2": 1.0})
    claim = made("table5", build)[0].claims[0]
    assert claim.text == "medsem-deid ahead of every rival but RiDDLE's family in facenet-vggface2"
    assert (claim.verdict, claim.remark) == ("yes", "by pixelate")


def test_a_variant_of_the_papers_method_is_asked_the_same(build, put):
    put("medsem-turn", reversible=True, disease_top1=READ)
    put("pixelate", disease_top1=0.0)
    table, lines = made("table3", build)
    assert said(lines, "  medsem-turn (variant of MedSem-DeID)").split()[4] == "yes"
    assert (table.claims[0].text, table.claims[0].verdict) == ("medsem-turn ahead of every rival in top-1, %", "yes")


def test_without_the_papers_method_nothing_is_claimed(build, put):
    put("pixelate")
    _, lines = made("table3", build)
    assert lines[-1] == "not measured    MedSem-DeID is ahead: no result of a method medsem-deid"


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_print_and_keep(build, put, name):
    put("pixelate")
    put("medsem-deid", reversible=True)
    shown = CliRunner().invoke(cli, ["reproduce", name, "--config", str(build.config_path)], catch_exceptions=False)
    assert shown.exit_code == 0 and shown.output.startswith(f"Table {name.removeprefix('table')}: ")
    kept = read_json(build.reproduce / f"{name}.json")
    assert set(kept["ours"]) == {"medsem-deid"} | ({"pixelate"} if name != "table8" else set())
    assert kept["paper"]["rows"]["MedSem-DeID"] == list(paper().tables[name].rows["MedSem-DeID"])


def test_every_column_of_the_paper_has_one_of_ours():
    for name in NAMES:
        keys = {column.key for column in columns_of(name, ["dlib", "phantom-sphereface"])}
        assert set(paper().tables[name].columns) <= keys
    assert {one.row for one in COUNTERPARTS} == set(paper().methods)
    assert counterpart_of("fitted") is None and counterpart_of("medsem-deid-phantom").row == "MedSem-DeID"


def test_results_that_do_not_belong_together_are_refused(build, put):
    with pytest.raises(UserError, match="holds no result"):
        read_results(build)
    result = put("pixelate")
    other = result.model_copy(update={"protocol": result.protocol.model_copy(update={"version": "0"})})
    other.save(build.benchmark / "pixelate" / "result.json")
    with pytest.raises(UserError, match="another release or protocol"):
        read_results(build)


def test_metrics_are_those_that_the_benchmark_has():
    from benchmark.metrics import METRICS
    from benchmark.tracks.protocol import TRACKS

    known = {definition.name for definition in METRICS}
    known |= {one.name for track in TRACKS.names() for one in TRACKS.load(track).definitions}
    for name in NAMES:
        for column in columns_of(name, ["dlib"]):
            assert column.metric.partition("/")[0].partition(".")[0] in known, column
            if column.setting.startswith("benchmark.tracks"):
                assert column.setting.partition("[")[2].partition("]")[0] in TRACKS.names(), column
