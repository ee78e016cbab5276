"""Commands ``mema reproduce table9 | table10 | fig8``: train variants of MedSem-DeID, print them beside the paper's."""

from __future__ import annotations

from pathlib import Path

import click

from mema.options import DEMO_CONFIG

EXPERIMENTS = click.option(
    "--experiments",
    "experiments_path",
    type=click.Path(path_type=Path),
    default=Path("configs/reproduce/medsem-deid-phantom.yaml"),
    show_default=True,
    help="The variants, how long each is trained, and by what they are measured.",
)
ITERATIONS = click.option(
    "--iterations", type=click.IntRange(1), help="Iterations a variant, instead of the file's; more go on."
)


def _command(name: str, help_text: str) -> click.Command:
    @click.command(name, help=f"{help_text} What was trained before is kept, and an interrupted training goes on.")
    @DEMO_CONFIG
    @EXPERIMENTS
    @ITERATIONS
    def show(config_path: Path, experiments_path: Path, iterations: int | None) -> None:
        from baselines.medsem_deid.reproduce import tables
        from baselines.medsem_deid.reproduce.settings import load_experiments
        from baselines.medsem_deid.reproduce.text import text
        from mema.build import Build
        from mema.files import write_json

        build, experiments = Build.load(config_path), load_experiments(experiments_path)
        if iterations is not None:
            experiments = experiments.model_copy(update={"iterations": iterations})
        sheets = {"table9": tables.table9, "table10": tables.table10, "fig8": tables.fig8}[name](build, experiments)
        written = write_json(build.reproduce / f"{name}.json", tables.as_json(sheets, experiments))
        click.echo(text(sheets, experiments))
        click.echo(f"\nwritten: {written}")

    return show


table9 = _command("table9", "Train MedSem-DeID without its parts, M1 to M4.")
table10 = _command("table10", "Train MedSem-DeID beside a supervised ViT, an MAE and a diffusion model.")
fig8 = _command("fig8", "Train MedSem-DeID under several weights of the medical and of the recovery loss.")
