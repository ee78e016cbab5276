"""The command line ``mema``: a table of commands whose modules are imported when one of them is used."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from mema import __version__
from mema.errors import UserError

# name -> (reference, what --help says), so that help imports no stage.
COMMANDS = {
    "phantom": ("generation.cli:phantom", "Render and measure the phantom hospital."),
    "generate": ("generation.cli:generate", "Patients to virtual patients: cohort, fine-tune, plan, sample."),
    "reproduce": ("generation.reproduce.cli:reproduce", "Print the paper's tables beside ours: table1, table2, fig4."),
    "curate": ("curation.cli:curate", "Candidates to annotated images: audit, filter, annotate."),
    "release": ("curation.release_cli:release", "Versions of a dataset: build, publish, diff, verify, retract."),
    "annotate": ("curation.labelstudio.cli:annotate", "Physicians in Label Studio: serve, push, pull, agreement."),
    "medsem": ("baselines.medsem_deid.cli:medsem", "Train and measure MedSem-DeID: encoder, train, measure."),
    "benchmark": ("benchmark.cli:benchmark", "Run de-identification methods on a release."),
    "leaderboard": ("benchmark.cli:leaderboard", "Keep results and render the leaderboard from them."),
    "config": ("mema.commands:config", "Check a build's YAML."),
    "weights": ("mema.commands:weights", "List weights: what is here, its licence, its hash."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported on use."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import the command called ``name``; None when there is none."""
        from mema.registry import resolve

        return resolve(COMMANDS[name][0]) if name in COMMANDS else None

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for an unknown one."""
        from mema.errors import nearest

        if arguments and arguments[0] not in COMMANDS and not arguments[0].startswith("-"):
            raise click.UsageError(f"unknown command '{arguments[0]}'{nearest(arguments[0], COMMANDS)}")
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="openmema")
def cli() -> None:
    """OpenMeMa: virtual patients for medical face de-identification."""


def main() -> Any:
    """Run the command line: user errors are one line on stderr and exit code 2, a full disk too."""
    try:
        return cli(standalone_mode=True)
    except UserError as error:
        click.echo(f"mema: {error}", err=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        click.echo("mema: the disk is full: free some space and run the same command again", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
