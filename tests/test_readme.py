"""What the README and the configurations say must be so."""

import re
from pathlib import Path

import pytest
import yaml

from mema.build import Build
from mema.cli import COMMANDS

ROOT = Path(__file__).parents[1]
BUILDS = [file for file in (ROOT / "configs").glob("*.yaml") if "paths" in yaml.safe_load(file.read_text())]


def test_the_table_of_commands_is_the_command_line():
    readme = (ROOT / "README.md").read_text()
    table = re.search(r"<!-- commands:begin.*?-->\n(.*)<!-- commands:end -->", readme, re.DOTALL)
    assert table is not None
    rows = dict(re.findall(r"\| `mema (\w+)` \| (.*) \|", table.group(1)))
    assert rows == {name: text for name, (_, text) in COMMANDS.items()}


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", *(f"docs/{f.name}" for f in ROOT.glob("docs/*.md"))]
)
def test_links_lead_somewhere(document):
    file = ROOT / document
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text()):
        assert (file.parent / link).exists(), f"{document}: {link}"


@pytest.mark.parametrize("path", BUILDS, ids=lambda path: path.name)
def test_every_build_is_valid(path):
    Build.load(path).check()


def test_the_pipeline_runs_commands_that_exist():
    from click import Context

    from mema.cli import cli

    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        program, group, command, *_ = (stage.get("do") or stage)["cmd"].split()
        assert program == "mema"
        found = cli.get_command(Context(cli), group)
        assert found is not None and command in found.list_commands(Context(found)), name
