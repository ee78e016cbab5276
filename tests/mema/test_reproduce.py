"""The group ``mema reproduce``: verbs of several stages under one name, none imported before it is used."""

import click
import pytest
from click.testing import CliRunner

from mema.cli import cli
from mema.reproduce import COMMANDS, reproduce


def test_every_verb_is_a_command_under_its_own_name():
    context = click.Context(reproduce)
    for name in COMMANDS:
        command = reproduce.get_command(context, name)
        assert command is not None and command.name == name and command.help


@pytest.mark.parametrize("name", COMMANDS)
def test_each_says_what_it_takes(name):
    shown = CliRunner().invoke(cli, ["reproduce", name, "--help"], catch_exceptions=False)
    assert shown.exit_code == 0 and "--config" in shown.output


def test_an_unknown_verb_suggests_the_nearest():
    shown = CliRunner().invoke(cli, ["reproduce", "tabel9"])
    assert shown.exit_code == 2 and "did you mean 'table9'?" in shown.output
