"""Commands ``mema reproduce table3 | table5 | table6 | table7 | table8``: results of a build beside the paper's."""

from __future__ import annotations

from pathlib import Path

import click

from mema.options import DEMO_CONFIG


def _command(name: str, help_text: str) -> click.Command:
    @click.command(name, help=help_text)
    @DEMO_CONFIG
    def show(config_path: Path) -> None:
        from benchmark.reproduce.tables import as_json, make_table, read_results
        from benchmark.reproduce.text import text
        from mema.build import Build
        from mema.files import write_json

        build = Build.load(config_path)
        measured = read_results(build)
        table = make_table(name, measured)
        written = write_json(build.reproduce / f"{name}.json", as_json(table, measured))
        click.echo(text(table, measured))
        click.echo(f"\nwritten: {written}")

    return show


table3 = _command("table3", "What 'mema benchmark run' measured: disease top-1, all and by class, and segmentation.")
table5 = _command("table5", "What 'mema benchmark run' measured: ID-Dis by recogniser.")
table6 = _command("table6", "What 'mema benchmark run' measured: who is still found or accepted.")
table7 = _command("table7", "What 'mema benchmark run' measured: errors of landmarks and gaze.")
table8 = _command("table8", "What 'mema benchmark run' measured: images opened with the right key.")
